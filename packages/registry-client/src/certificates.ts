/** Certificates of single registries, as given or as `certs.d` directories keep them. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { RegistryError } from './errors.ts';

/** How TLS is spoken with one registry. All texts are PEM. */
export interface RegistryTls {
  /** Authorities to trust besides the system's. */
  ca?: string | readonly string[];
  /** The client's certificate; goes with `key`. */
  cert?: string;
  /** The client's private key. */
  key?: string;
  /** Takes any certificate of the registry. Default false. */
  insecure?: boolean;
}

/**
 * Reads directories such as `/etc/docker/certs.d`: below each, one directory a registry (`host[:port]`) with `*.crt`
 * (authorities) and one pair `*.cert` and `*.key` (the client). Of two directories that know a registry, the first
 * counts. What is missing is no error.
 *
 * @returns for the option `tls` of a client
 * @throws {RegistryError} `INVALID_CREDENTIALS`: a file cannot be read, or a client certificate lacks its key
 */
export async function readCertificateDirectories(
  directories: readonly string[],
): Promise<Record<string, RegistryTls>> {
  const found: Record<string, RegistryTls> = {};
  for (const directory of directories) {
    for (const registry of await namesIn(directory)) {
      if (Object.hasOwn(found, registry)) continue;
      const tls = await readRegistry(join(directory, registry));
      if (tls !== undefined) found[registry] = tls;
    }
  }
  return found;
}

async function readRegistry(folder: string): Promise<RegistryTls | undefined> {
  const names = await namesIn(folder);
  const authorities = names.filter((name) => name.endsWith('.crt'));
  const pair = names.find((name) => name.endsWith('.cert'));
  const key = pair?.replace(/cert$/, 'key');
  if (key !== undefined && !names.includes(key)) {
    throw new RegistryError('INVALID_CREDENTIALS', `${join(folder, pair!)} lacks its key, ${key}`);
  }
  if (authorities.length === 0 && pair === undefined) return undefined;
  return {
    ...(authorities.length > 0 && {
      ca: await Promise.all(authorities.map((name) => readText(join(folder, name)))),
    }),
    ...(pair !== undefined && {
      cert: await readText(join(folder, pair)),
      key: await readText(join(folder, key!)),
    }),
  };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // a file beside the registries' directories is none of ours
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw unreadable(folder, cause);
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): RegistryError {
  return new RegistryError('INVALID_CREDENTIALS', `cannot read ${path}: ${(cause as Error).message}`, {
    cause,
  });
}
