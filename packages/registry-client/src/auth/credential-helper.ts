/**
 * The protocol of credential helpers: programs `docker-credential-<name>` that keep credentials in a keychain.
 *
 * @see https://github.com/docker/docker-credential-helpers
 */
import { spawn } from 'node:child_process';
import { readBytes } from '@tare/image-spec/content';
import { z } from 'zod';
import { RegistryError } from '../errors.ts';
import type { Credentials } from './credentials.ts';

/** A helper may ask a person to unlock a keychain, but not for ever. In milliseconds. */
const TIMEOUT_MS = 60_000;
/** Bytes of its answer that are read. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** What helpers print, with status 1, for a server they do not know. */
const NOT_FOUND = 'credentials not found';

const answerSchema = z.looseObject({ Username: z.string(), Secret: z.string() });

const listSchema = z.record(z.string(), z.string());

/** How a call of a helper is made. */
export interface HelperOptions {
  signal?: AbortSignal;
}

/**
 * Asks the helper `docker-credential-<name>` for the credentials of `server`.
 *
 * @returns undefined when it has none
 * @throws {RegistryError} `INVALID_CREDENTIALS`: the name is not allowed, or the helper is missing or failed
 */
export async function credentialFromHelper(
  name: string,
  server: string,
  options: HelperOptions = {},
): Promise<Credentials | undefined> {
  const stdout = await callHelper(name, 'get', server, options);
  if (stdout === undefined) return undefined;
  const answer = parseAnswer(name, answerSchema, stdout);
  // the protocol's sign that the secret is an identity token
  if (answer.Username === TOKEN_USER) return { identityToken: answer.Secret };
  return { username: answer.Username, password: answer.Secret };
}

/**
 * Has the helper keep credentials, replacing those it has for `server`.
 *
 * @throws {RegistryError} as {@link credentialFromHelper}
 */
export async function storeInHelper(
  name: string,
  server: string,
  credentials: Exclude<Credentials, { registryToken: string }>,
  options: HelperOptions = {},
): Promise<void> {
  const pair =
    'password' in credentials
      ? { Username: credentials.username, Secret: credentials.password }
      : { Username: TOKEN_USER, Secret: credentials.identityToken };
  await callHelper(name, 'store', JSON.stringify({ ServerURL: server, ...pair }), options);
}

/** Has the helper forget the credentials of `server`; that it has none is no error. @throws as {@link credentialFromHelper} */
export async function eraseFromHelper(
  name: string,
  server: string,
  options: HelperOptions = {},
): Promise<void> {
  await callHelper(name, 'erase', server, options);
}

/** The servers that the helper has credentials for, each with its user. @throws as {@link credentialFromHelper} */
export async function listHelper(name: string, options: HelperOptions = {}): Promise<Record<string, string>> {
  const stdout = await callHelper(name, 'list', '', options);
  return stdout === undefined ? {} : parseAnswer(name, listSchema, stdout);
}

/** In place of a user: the secret is an identity token. */
const TOKEN_USER = '<token>';

function parseAnswer<T extends z.ZodType>(name: string, schema: T, stdout: string): z.output<T> {
  try {
    return schema.parse(JSON.parse(stdout));
  } catch {
    // without the cause, which would quote the secret
    throw new RegistryError(
      'INVALID_CREDENTIALS',
      `credential helper docker-credential-${name} did not answer in its protocol`,
    );
  }
}

/** What the helper prints; undefined when it does not know the server. */
async function callHelper(
  name: string,
  verb: 'get' | 'store' | 'erase' | 'list',
  input: string,
  options: HelperOptions,
): Promise<string | undefined> {
  // the name comes from a file: it must not be able to name another program
  if (!/^[A-Za-z0-9._-]+$/.test(name)) {
    throw new RegistryError(
      'INVALID_CREDENTIALS',
      `${JSON.stringify(name)} is not a name of a credential helper`,
    );
  }
  const program = `docker-credential-${name}`;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  const { code, stdout } = await run(program, verb, input, signal).catch((cause: unknown) => {
    options.signal?.throwIfAborted();
    const why = timeout.aborted ? `no answer within ${TIMEOUT_MS / 1_000} s` : (cause as Error).message;
    throw new RegistryError('INVALID_CREDENTIALS', `credential helper ${program} failed: ${why}`, { cause });
  });
  if (code === 0) return stdout;
  if (stdout.includes(NOT_FOUND)) return undefined;
  throw new RegistryError('INVALID_CREDENTIALS', `credential helper ${program} failed with status ${code}`);
}

async function run(
  program: string,
  verb: string,
  input: string,
  signal: AbortSignal,
): Promise<{ code: number; stdout: string }> {
  const child = spawn(program, [verb], { stdio: ['pipe', 'pipe', 'ignore'], signal });
  const closed = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? -1));
  });
  // a helper that does not read its input closes it early; its answer counts all the same
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, code] = await Promise.all([readBytes(child.stdout, MAX_ANSWER_BYTES), closed]);
  return { code, stdout: new TextDecoder().decode(stdout) };
}
