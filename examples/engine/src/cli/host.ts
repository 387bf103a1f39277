/** Where the daemon listens: `unix:///run/tare.sock`, `tcp://host:port` with or without TLS, `ssh://user@host`. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CliError, messageOf } from './errors.ts';
import type { Environment } from './values/key-value.ts';

/** The address `tare daemon` listens on and the client talks to when nothing else is said. */
export const defaultHost = 'unix:///run/tare.sock';

/** What listings say about the daemon of flags, environment and defaults. */
export const defaultDescription = 'Current DOCKER_HOST based configuration';

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
  | { kind: 'ssh'; url: string; user: string; hostname: string; port: string; socketPath: string }
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

/** The address when no context is chosen: `--host`, then `TARE_HOST`, then `DOCKER_HOST`, then {@link defaultHost}. */
export function hostOfDefault(host: string | undefined, environment: Environment): string {
  return host || environment['TARE_HOST'] || environment['DOCKER_HOST'] || defaultHost;
}

/**
 * The endpoint to talk to when no context is chosen, see {@link hostOfDefault}.
 *
 * @throws {CliError} for an address of an unknown kind, or TLS files that cannot be read
 */
export function resolveHost(host: string | undefined, environment: Environment, tls?: TlsFlags): Endpoint {
  return parseHost(hostOfDefault(host, environment), (https) => tlsSettings(environment, tls, https));
}

/**
 * Parses an address.
 *
 * @param tls what a tcp address is reached with, given whether it says https
 * @throws {CliError} for an address of an unknown kind
 */
export function parseHost(url: string, tls: (https: boolean) => TlsSettings | undefined): Endpoint {
  const [scheme, rest] = url.includes('://') ? (url.split('://', 2) as [string, string]) : ['tcp', url];
  if (scheme === 'unix') return { kind: 'unix', url, socketPath: rest };
  if (scheme === 'ssh') return sshHost(url);
  if (scheme !== 'tcp' && scheme !== 'http' && scheme !== 'https') {
    throw new CliError(
      `unable to parse docker host ${JSON.stringify(url)}: use unix:///path/to.sock, tcp://host:port or ssh://user@host`,
    );
  }
  const parsed = new URL(`http://${rest}`);
  const settings = tls(scheme === 'https');
  return {
    kind: 'tcp',
    url,
    hostname: parsed.hostname.replace(/^\[(.*)\]$/, '$1') || '127.0.0.1',
    port: Number(parsed.port || (settings ? 2376 : 2375)),
    path: parsed.pathname === '/' ? '' : parsed.pathname,
    tls: settings,
  };
}

/** `ssh://[user@]host[:port][/path/of/socket]`. What ssh would take for an option is refused. */
function sshHost(url: string): Endpoint {
  const { username, password, hostname, port, pathname, search } = new URL(url);
  const user = decodeURIComponent(username);
  const refuse = (why: string): never => {
    throw new CliError(
      `unable to parse docker host ${JSON.stringify(url.replace(/:[^:@/]*@/, '@'))}: ${why}`,
    );
  };
  if (password) refuse('a password does not belong there, use ssh-agent or a key');
  if (hostname === '' || search !== '')
    refuse('use ssh://user@host, with or without :port and /path/of/socket');
  if (hostname.startsWith('-') || user.startsWith('-')) refuse('user and host cannot begin with a dash');
  return { kind: 'ssh', url, user, hostname, port, socketPath: pathname === '/' ? '' : pathname };
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
