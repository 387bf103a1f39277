/** Where the daemon listens: `unix:///run/tare.sock`, `tcp://host:port`, with or without TLS. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CliError, messageOf } from './errors.ts';
import type { Environment } from './values/key-value.ts';

/** The address `tare daemon` listens on and the client talks to when nothing else is said. */
export const defaultHost = 'unix:///run/tare.sock';

/** Client certificate and trust for a daemon behind TLS; PEM texts. */
export interface TlsSettings {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  /** Whether the daemon's certificate is checked. */
  verify: boolean;
}

/** A parsed daemon address. */
export type Endpoint =
  | { kind: 'unix'; url: string; socketPath: string }
  | { kind: 'tcp'; url: string; hostname: string; port: number; path: string; tls: TlsSettings | undefined };

/** Global TLS flags, as given. */
export interface TlsFlags {
  tls: boolean;
  tlsverify: boolean;
  tlscacert: string;
  tlscert: string;
  tlskey: string;
}

/**
 * The endpoint to talk to: `--host`, then `TARE_HOST`, then `DOCKER_HOST`, then {@link defaultHost}.
 *
 * @throws {CliError} for an address of an unknown kind, or TLS files that cannot be read
 */
export function resolveHost(host: string | undefined, environment: Environment, tls?: TlsFlags): Endpoint {
  const url = host || environment['TARE_HOST'] || environment['DOCKER_HOST'] || defaultHost;
  const [scheme, rest] = url.includes('://') ? (url.split('://', 2) as [string, string]) : ['tcp', url];
  if (scheme === 'unix') return { kind: 'unix', url, socketPath: rest };
  if (scheme !== 'tcp' && scheme !== 'http' && scheme !== 'https') {
    throw new CliError(
      `unable to parse docker host ${JSON.stringify(url)}: use unix:///path/to.sock or tcp://host:port`,
    );
  }
  const parsed = new URL(`http://${rest}`);
  const settings = tlsSettings(environment, tls, scheme === 'https');
  return {
    kind: 'tcp',
    url,
    hostname: parsed.hostname.replace(/^\[(.*)\]$/, '$1') || '127.0.0.1',
    port: Number(parsed.port || (settings ? 2376 : 2375)),
    path: parsed.pathname === '/' ? '' : parsed.pathname,
    tls: settings,
  };
}

function tlsSettings(
  environment: Environment,
  flags: TlsFlags | undefined,
  https: boolean,
): TlsSettings | undefined {
  const verify = flags?.tlsverify || Boolean(environment['DOCKER_TLS_VERIFY']);
  if (!verify && !flags?.tls && !https && !environment['DOCKER_TLS']) return undefined;
  const directory = environment['DOCKER_CERT_PATH'] || join(homedir(), '.docker');
  return {
    verify,
    ...pem('ca', flags?.tlscacert || join(directory, 'ca.pem'), Boolean(flags?.tlscacert) || verify),
    ...pem('cert', flags?.tlscert || join(directory, 'cert.pem'), Boolean(flags?.tlscert)),
    ...pem('key', flags?.tlskey || join(directory, 'key.pem'), Boolean(flags?.tlskey)),
  };
}

/** A PEM file; a missing one matters only when it was asked for by name. */
function pem<K extends string>(name: K, path: string, required: boolean): Partial<Record<K, Buffer>> {
  try {
    return { [name]: readFileSync(path) } as Partial<Record<K, Buffer>>;
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new CliError(`could not read the TLS file ${path}: ${messageOf(cause)}`, { cause });
  }
}
