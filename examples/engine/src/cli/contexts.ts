/** Contexts: named daemons, kept where the docker CLI keeps them, so that both know the same ones. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CliError, messageOf } from './errors.ts';
import type { TlsSettings } from './host.ts';

/** The context that is no file: flags, environment and defaults. */
export const defaultContext = 'default';

/** Where a context's daemon is. */
export interface ContextEndpoint {
  Host: string;
  SkipTLSVerify: boolean;
}

/** `meta.json` of a context. */
export interface ContextMeta {
  Name: string;
  Metadata: { Description?: string } & Record<string, unknown>;
  Endpoints: { docker?: ContextEndpoint } & Record<string, unknown>;
}

/** PEM texts of a context by the names their files have. */
export type TlsFiles = Partial<Record<'ca.pem' | 'cert.pem' | 'key.pem', Buffer>>;

const tlsNames = ['ca.pem', 'cert.pem', 'key.pem'] as const;
const nameGrammar = '^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$';

/** @throws {CliError} for a name that a context cannot have */
export function checkContextName(name: string): void {
  if (name === '') throw new CliError('context name cannot be empty');
  if (name === defaultContext) throw new CliError('"default" is a reserved context name');
  if (!new RegExp(nameGrammar).test(name)) {
    throw new CliError(
      `context name ${JSON.stringify(name)} is invalid, names are validated against regexp "${nameGrammar}"`,
    );
  }
}

/** The contexts below one configuration folder. Nothing is read before it is asked for. */
export class ContextStore {
  readonly #root: string;

  /** @param configFolder such as `~/.docker` */
  constructor(configFolder: string) {
    this.#root = join(configFolder, 'contexts');
  }

  /** Folder of a context's `meta.json`. */
  metaFolder(name: string): string {
    return join(this.#root, 'meta', idOf(name));
  }

  /** Folder above a context's keys. */
  tlsFolder(name: string): string {
    return join(this.#root, 'tls', idOf(name));
  }

  /** Every context, by name. */
  list(): ContextMeta[] {
    const folder = join(this.#root, 'meta');
    const ids = existsSync(folder) ? readdirSync(folder) : [];
    return ids
      .map((id) => readMeta(join(folder, id, 'meta.json')))
      .sort((a, b) => (a.Name < b.Name ? -1 : 1));
  }

  has(name: string): boolean {
    return existsSync(join(this.metaFolder(name), 'meta.json'));
  }

  /** @throws {CliError} when there is none of that name */
  get(name: string): ContextMeta {
    if (name !== defaultContext) checkContextName(name);
    const file = join(this.metaFolder(name), 'meta.json');
    try {
      return readMeta(file);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      throw new CliError(
        `context ${JSON.stringify(name)}: context not found: open ${file}: no such file or directory`,
        { cause },
      );
    }
  }

  /** The keys of a context's daemon. */
  tls(name: string): TlsFiles {
    const folder = join(this.tlsFolder(name), 'docker');
    return Object.fromEntries(
      tlsNames
        .filter((file) => existsSync(join(folder, file)))
        .map((file) => [file, readFileSync(join(folder, file))]),
    );
  }

  /** Keeps a context; keys that were there before are replaced. */
  save(meta: ContextMeta, tls: TlsFiles): void {
    checkContextName(meta.Name);
    const keys = join(this.tlsFolder(meta.Name), 'docker');
    rmSync(this.tlsFolder(meta.Name), { recursive: true, force: true });
    for (const [file, pem] of Object.entries(tls)) {
      mkdirSync(keys, { recursive: true, mode: 0o700 });
      writeFileSync(join(keys, file), pem, { mode: 0o600 });
    }
    // last: a context is there once its description is
    writeWhole(join(this.metaFolder(meta.Name), 'meta.json'), JSON.stringify(meta));
  }

  /** Forgets a context, if there is one. */
  remove(name: string): void {
    rmSync(this.metaFolder(name), { recursive: true, force: true });
    rmSync(this.tlsFolder(name), { recursive: true, force: true });
  }
}

/** How the client trusts a context's daemon and shows itself to it; undefined for a daemon without TLS. */
export function contextTls(
  files: TlsFiles,
  { Host, SkipTLSVerify }: ContextEndpoint,
): TlsSettings | undefined {
  const { 'ca.pem': ca, 'cert.pem': cert, 'key.pem': key } = files;
  if (!ca && !cert && !key && !SkipTLSVerify && !Host.startsWith('https://')) return undefined;
  return { verify: !SkipTLSVerify, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

function idOf(name: string): string {
  // loaded only here: most command lines name no context
  const { createHash } = process.getBuiltinModule('node:crypto');
  return createHash('sha256').update(name).digest('hex');
}

function readMeta(file: string): ContextMeta {
  const text = readFileSync(file, 'utf8');
  try {
    const { Name, Metadata = {}, Endpoints = {} } = JSON.parse(text) as ContextMeta;
    return { Name, Metadata, Endpoints };
  } catch (cause) {
    throw new CliError(`parsing ${file}: ${messageOf(cause)}`, { cause });
  }
}

function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: 0o644 });
  renameSync(temporary, file);
}
