/** Credentials as `docker login` and `podman login` keep them: in `config.json` or `auth.json`, or in the credential helper it names. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_REGISTRY } from '@tare/image-spec';
import { z } from 'zod';
import { RegistryError } from '../errors.ts';
import { credentialFromHelper } from './credential-helper.ts';
import type { Credentials, CredentialSource } from './credentials.ts';

/** Under this name Docker keeps the credentials of Docker Hub, since before registries had a version 2. */
export const DOCKER_HUB_CONFIG_KEY = 'https://index.docker.io/v1/';

const text = z.string().nullish();
const authSchema = z.looseObject({
  auth: text,
  username: text,
  password: text,
  identitytoken: text,
  registrytoken: text,
});
const configSchema = z.looseObject({
  auths: z.record(z.string(), authSchema).nullish(),
  credsStore: text,
  credHelpers: z.record(z.string(), z.string()).nullish(),
});

/**
 * Reads Docker's credentials. A missing file means none.
 *
 * The file is read anew for every registry asked for, so a login during the life of a client counts.
 *
 * @param options.path default `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`
 * @throws {RegistryError} (from `get`) `INVALID_CREDENTIALS`: the file cannot be read or parsed, or the helper fails
 */
export function dockerConfigCredentials(options: { path?: string } = {}): CredentialSource {
  const path =
    options.path ?? join(process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json');
  return fromFiles([path], false);
}

/**
 * Reads the credentials of podman, buildah and skopeo (`auth.json`), and Docker's where those have none. A missing file
 * means none. Entries for a part of a registry (`host/namespace`, `host/namespace/repository`) go before those for all of it.
 *
 * @param options.path default `$REGISTRY_AUTH_FILE`; else `containers/auth.json` in `$XDG_RUNTIME_DIR` and in
 *   `$XDG_CONFIG_HOME` (`~/.config`), then Docker's file
 * @throws {RegistryError} (from `get`) as {@link dockerConfigCredentials}
 * @see https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
 */
export function containersAuthCredentials(options: { path?: string } = {}): CredentialSource {
  const { env } = process;
  const only = options.path ?? env['REGISTRY_AUTH_FILE'];
  if (only) return fromFiles([only], true);
  const runtime = env['XDG_RUNTIME_DIR'];
  return fromFiles(
    [
      ...(runtime ? [join(runtime, 'containers/auth.json')] : []),
      join(env['XDG_CONFIG_HOME'] || join(homedir(), '.config'), 'containers/auth.json'),
      join(env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json'),
    ],
    true,
  );
}

/** The first file that knows the registry, or with `perRepository` a part of it. */
function fromFiles(paths: readonly string[], perRepository: boolean): CredentialSource {
  return {
    perRepository,
    async get(registry, { repository, signal } = {}) {
      const namespaces = perRepository && repository !== undefined ? namespacesOf(registry, repository) : [];
      for (const path of paths) {
        const found = await lookUp(path, registry, namespaces, signal);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The repository and everything it is in, the nearest first: `host/a/b`, `host/a`. */
function namespacesOf(registry: string, repository: string): string[] {
  const parts = repository.split('/');
  return parts.map((_, i) => `${registry}/${parts.slice(0, parts.length - i).join('/')}`);
}

async function lookUp(
  path: string,
  registry: string,
  namespaces: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  const config = await readConfig(path, signal);
  if (config === undefined) return undefined;
  for (const namespace of namespaces) {
    const helper = ownEntry(config.credHelpers, namespace);
    if (helper !== undefined) {
      const found = await credentialFromHelper(helper, namespace, signal && { signal });
      if (found !== undefined) return found;
    }
    const entry = ownEntry(config.auths, namespace);
    const credentials = entry && credentialsOf(entry, namespace, path);
    if (credentials !== undefined) return credentials;
  }
  const helper =
    ownEntry(config.credHelpers, registry) ??
    ownEntry(config.credHelpers, configKey(registry)) ??
    config.credsStore;
  if (helper) {
    const found = await credentialFromHelper(helper, configKey(registry), signal && { signal });
    if (found !== undefined) return found;
  }
  for (const [key, entry] of Object.entries(config.auths ?? {})) {
    if (registryOfKey(key) === registry) {
      const credentials = credentialsOf(entry, registry, path);
      if (credentials !== undefined) return credentials;
    }
  }
  return undefined;
}

function ownEntry<T>(record: Record<string, T> | null | undefined, key: string): T | undefined {
  return record && Object.hasOwn(record, key) ? record[key] : undefined;
}

async function readConfig(path: string, signal: AbortSignal | undefined) {
  let bytes: string;
  try {
    bytes = await readFile(path, { encoding: 'utf8', signal });
  } catch (cause) {
    signal?.throwIfAborted();
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new RegistryError('INVALID_CREDENTIALS', `cannot read ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
  try {
    return configSchema.parse(JSON.parse(bytes));
  } catch {
    // without the cause: a parser's message quotes the text, and this text is secret
    throw new RegistryError('INVALID_CREDENTIALS', `${path} is not a Docker configuration file in JSON`);
  }
}

function credentialsOf(
  entry: z.output<typeof authSchema>,
  registry: string,
  path: string,
): Credentials | undefined {
  if (entry.registrytoken) return { registryToken: entry.registrytoken };
  let username = entry.username ?? '';
  let password = entry.password ?? '';
  if (entry.auth) {
    // Docker once padded the decoded text with NUL
    const decoded = Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '');
    const colon = decoded.indexOf(':');
    if (colon === -1) {
      throw new RegistryError(
        'INVALID_CREDENTIALS',
        `${path}: the auth of ${registry} is not base64 of user:password`,
      );
    }
    username = decoded.slice(0, colon);
    password = decoded.slice(colon + 1);
  }
  if (entry.identitytoken) return { identityToken: entry.identitytoken, ...(username && { username }) };
  return username === '' ? undefined : { username, password };
}

function configKey(registry: string): string {
  return registry === DEFAULT_REGISTRY ? DOCKER_HUB_CONFIG_KEY : registry;
}

/** Keys are hosts, or URLs in the files of old versions. */
function registryOfKey(key: string): string {
  const url = /^https?:\/\//.test(key);
  // without a scheme, a path is a namespace: its password is not for the rest of the registry
  const host = url
    ? key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
    : key.replace(/\/(?:v[12]\/?)?$/, '');
  return ['index.docker.io', 'registry-1.docker.io', 'docker.io'].includes(host) ? DEFAULT_REGISTRY : host;
}
