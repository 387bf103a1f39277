/** Binds the server to the addresses of the configuration. */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, isIP, type Server } from 'node:net';
import { dirname } from 'node:path';
import { Server as TlsServer } from 'node:tls';
import { invalid, systemError } from '../errors.ts';
import type { InheritedSocket } from '../system/service-manager.ts';

/** What the addresses have in common. */
export interface ListenOptions {
  group: SocketGroup;
  /** Allow tcp in the clear on addresses other than loopback. */
  plainTcp: boolean;
  /** Sockets that the service manager opened for us. */
  inherited?: readonly InheritedSocket[];
}

/** Group of the unix sockets. */
export interface SocketGroup {
  name: string;
  /** Whether a missing group is an error. */
  required: boolean;
}

/** What `sun_path` of unix(7) takes, less the zero at its end. */
const MAX_SOCKET_PATH_BYTES = 107;
const SOCKET_MODE = 0o660;
/** umask that makes bind(2) create a socket with {@link SOCKET_MODE}: there is no moment when it is wider. */
const SOCKET_UMASK = 0o117;

/**
 * Makes `server` listen on one address and resolves to the address it got (a tcp port 0 becomes a real one).
 *
 * @param host - `unix:///path`, `tcp://address:port` (a server of `node:tls` may listen on any address), or `fd://name` for
 * the first inherited socket of that name that is not listened on yet; without a name, for the first at all
 * @throws {EngineError} `INVALID` for an address that is not served, `SYSTEM` when it is taken
 */
export async function listen(server: Server, host: string, options: ListenOptions): Promise<string> {
  if (host.startsWith('fd://')) return listenInherited(server, host, options.inherited ?? []);
  if (host.startsWith('unix://')) return listenUnix(server, host.slice('unix://'.length), options.group);
  return listenTcp(server, host, server instanceof TlsServer || options.plainTcp);
}

/** Its file, mode and group are the service manager's, and stay when we end. */
async function listenInherited(
  server: Server,
  host: string,
  inherited: readonly InheritedSocket[],
): Promise<string> {
  const name = host.slice('fd://'.length);
  const socket = inherited.find((one) => !one.taken && (name === '' || one.name === name));
  if (!socket) {
    throw invalid(
      `invalid host ${host}: no socket${name && ` named ${name}`} was passed; it is for being started by a socket unit of systemd`,
    );
  }
  socket.taken = true;
  await started(server, () => server.listen({ fd: socket.fd }), host);
  // of a pipe that it has not bound, Node knows no address
  if (server.address() === null) return `unix://${socket.path}`;
  server.close();
  throw invalid(
    `invalid host ${host}: only unix sockets are taken over; give tcp addresses as tcp://address:port`,
  );
}

async function listenUnix(server: Server, path: string, group: SocketGroup): Promise<string> {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw invalid(
      `cannot listen on ${path}: the path has ${bytes} bytes, and that of a socket at most ${MAX_SOCKET_PATH_BYTES}`,
    );
  }
  mkdirSync(dirname(path), { recursive: true });
  await removeStaleSocket(path);
  const previous = process.umask(SOCKET_UMASK);
  let bound: Promise<void>;
  try {
    // listen() binds before it returns, so the umask covers it
    bound = started(server, () => server.listen({ path }), path);
  } finally {
    process.umask(previous);
  }
  await bound;
  const gid = groupId(group);
  if (gid !== undefined) chownSync(path, -1, gid);
  chmodSync(path, SOCKET_MODE);
  return `unix://${path}`;
}

async function listenTcp(server: Server, host: string, anywhere: boolean): Promise<string> {
  const url = URL.canParse(host) ? new URL(host) : undefined;
  const address = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (!url || url.port === '' || (url.pathname !== '' && url.pathname !== '/')) {
    throw invalid(`invalid host ${host}: expected tcp://address:port`);
  }
  if (address !== 'localhost' && isIP(address) === 0) {
    throw invalid(`invalid host ${host}: ${address} is not an IP address`);
  }
  const loopback = address === 'localhost' || address === '::1' || address.startsWith('127.');
  if (!loopback && !anywhere) {
    throw invalid(
      `refusing to listen on ${host}: whoever can reach the API is root on this machine. Use --tlsverify with ` +
        'certificates, a unix socket or ssh; or insist with --tls=false',
    );
  }
  await started(server, () => server.listen({ host: address, port: Number(url.port) }), host);
  const bound = server.address();
  const port = typeof bound === 'object' && bound ? bound.port : Number(url.port);
  return `tcp://${url.hostname}:${port}`;
}

function started(server: Server, start: () => void, where: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (error: Error): void =>
    reject(systemError(`cannot listen on ${where}: ${error.message}`, { cause: error }));
  server.once('error', onError);
  server.once('listening', () => {
    server.off('error', onError);
    resolve();
  });
  start();
  return promise;
}

/** Unlinks the socket a killed engine left behind; refuses to take one that answers, or another kind of file. */
async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw systemError(`cannot listen on ${path}: it exists and is not a socket`);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const probe = connect({ path });
  probe.once('connect', () => resolve(true));
  probe.once('error', () => resolve(false));
  const alive = await promise;
  probe.destroy();
  if (alive) throw systemError(`cannot listen on ${path}: another process is listening there`);
  rmSync(path, { force: true });
}

/** The group's id: a number as it is, a name from /etc/group; undefined when it is missing and need not be there. */
function groupId(group: SocketGroup): number | undefined {
  if (group.name === '') return undefined;
  if (/^\d+$/.test(group.name)) return Number(group.name);
  for (const line of readFileSync('/etc/group', 'utf8').split('\n')) {
    const [name, , gid] = line.split(':');
    if (name === group.name && gid !== undefined) return Number(gid);
  }
  if (group.required) throw invalid(`could not find group ${group.name}: create it, or give another --group`);
  return undefined;
}
