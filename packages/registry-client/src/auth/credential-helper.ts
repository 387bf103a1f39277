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

/**
 * Asks the helper `docker-credential-<name>` for the credentials of `server`.
 *
 * @returns undefined when it has none
 * @throws {RegistryError} `INVALID_CREDENTIALS`: the name is not allowed, or the helper is missing or failed
 */
export async function credentialFromHelper(
  name: string,
  server: string,
  options: { signal?: AbortSignal } = {},
): Promise<Credentials | undefined> {
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
  const { code, stdout } = await run(program, server, signal).catch((cause: unknown) => {
    options.signal?.throwIfAborted();
    const why = timeout.aborted ? `no answer within ${TIMEOUT_MS / 1_000} s` : (cause as Error).message;
    throw new RegistryError('INVALID_CREDENTIALS', `credential helper ${program} failed: ${why}`, { cause });
  });
  if (code !== 0) {
    if (stdout.includes(NOT_FOUND)) return undefined;
    throw new RegistryError('INVALID_CREDENTIALS', `credential helper ${program} failed with status ${code}`);
  }
  let answer: z.output<typeof answerSchema>;
  try {
    answer = answerSchema.parse(JSON.parse(stdout));
  } catch {
    // without the cause, which would quote the secret
    throw new RegistryError(
      'INVALID_CREDENTIALS',
      `credential helper ${program} did not answer in its protocol`,
    );
  }
  // the protocol's sign that the secret is an identity token
  if (answer.Username === '<token>') return { identityToken: answer.Secret };
  return { username: answer.Username, password: answer.Secret };
}

async function run(
  program: string,
  input: string,
  signal: AbortSignal,
): Promise<{ code: number; stdout: string }> {
  const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], signal });
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
