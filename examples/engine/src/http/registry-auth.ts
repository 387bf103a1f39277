/** The `X-Registry-Auth` header. */
import { z } from 'zod';
import type { RegistryAuth } from '../images/remote.ts';

const authSchema = z.object({
  username: z.string().optional(),
  password: z.string().optional(),
  /** base64 of `username:password`, from old configuration files. */
  auth: z.string().optional(),
  serveraddress: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});

/**
 * Decodes the header: base64url of a JSON object. Undefined means anonymous.
 *
 * What cannot be decoded counts as anonymous, as dockerd has it: clients in the wild send standard base64, `null`, or
 * nothing at all.
 */
export function decodeRegistryAuth(header: string | undefined): RegistryAuth | undefined {
  if (header === undefined || header === '') return undefined;
  let raw: unknown;
  try {
    // Node's decoder takes both alphabets, with and without padding
    raw = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
  const parsed = authSchema.safeParse(raw);
  return parsed.success ? toRegistryAuth(parsed.data) : undefined;
}

/** The credentials in a decoded object; undefined when it holds none. */
export function toRegistryAuth(raw: z.output<typeof authSchema>): RegistryAuth | undefined {
  let { username, password } = raw;
  if (!username && raw.auth) {
    const [user, ...rest] = Buffer.from(raw.auth, 'base64').toString('utf8').split(':');
    username = user;
    password = rest.join(':');
  }
  const auth: RegistryAuth = {};
  if (username) auth.username = username;
  if (password) auth.password = password;
  if (raw.identitytoken) auth.identityToken = raw.identitytoken;
  if (raw.registrytoken) auth.registryToken = raw.registrytoken;
  return Object.keys(auth).length > 0 ? auth : undefined;
}

/** How Docker Hub is called in configuration files, which are older than its name. */
const HUB_KEYS = new Set(['https://index.docker.io/v1/', 'index.docker.io', 'registry-1.docker.io']);

/**
 * Decodes the `X-Registry-Config` header of a build: base64url of an object of credentials by registry. What cannot be
 * decoded counts as none.
 */
export function decodeRegistryConfig(header: string | undefined): Record<string, RegistryAuth> {
  if (header === undefined || header === '') return {};
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
  } catch {
    return {};
  }
  const parsed = z.record(z.string(), authSchema).safeParse(raw);
  if (!parsed.success) return {};
  return Object.fromEntries(
    Object.entries(parsed.data).flatMap(([key, value]) => {
      const auth = toRegistryAuth(value);
      const registry = HUB_KEYS.has(key) ? 'docker.io' : key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
      return auth ? [[registry, auth]] : [];
    }),
  );
}
