/** Certificates of the API's tcp sockets. */
import { readFileSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';
import type { TcpSecurity } from '../config-keys.ts';
import { invalid, messageOf } from '../errors.ts';

/** What is said about every tcp socket that does not ask its clients who they are. */
export const OPEN_TCP =
  'THIS ADDRESS LETS EVERYBODY IN: whoever can reach it is root on this machine, and so is whoever can make a browser ' +
  'here reach it. Use --tlsverify';

/**
 * Reads the files.
 *
 * @returns undefined for sockets in the clear
 * @throws {EngineError} `INVALID` naming the file that cannot be read
 */
export function tlsOptions(security: TcpSecurity): TlsOptions | undefined {
  if (security.kind === 'plain') return undefined;
  const options = {
    cert: pem('tlscert', security.cert),
    key: pem('tlskey', security.key),
    minVersion: 'TLSv1.2' as const,
  };
  if (security.kind === 'encrypted') return options;
  return { ...options, ca: pem('tlscacert', security.ca), requestCert: true, rejectUnauthorized: true };
}

function pem(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`could not read --${flag} ${path}: ${messageOf(error)}`, { cause: error });
  }
}
