/** systemd's half of a service: the sockets it opens for us, and what it is told of our life. Other managers do the same. */

import { fstatSync, readFileSync } from 'node:fs';

/** A listening socket that was open when we started. */
export interface InheritedSocket {
  fd: number;
  /** Name of its unit, or `FileDescriptorName=` there. */
  name: string;
  /** Its file; empty for what is no unix socket with one. */
  path: string;
  /** Somebody listens on it already. */
  taken: boolean;
}

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;

/**
 * The sockets passed by the protocol of sd_listen_fds(3). Its variables are taken out of `environment`: they are for this
 * process, and not for those that it starts.
 */
export function inheritedSockets(environment: NodeJS.ProcessEnv, pid: number): InheritedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  if (Number(LISTEN_PID) !== pid) return [];
  const names = LISTEN_FDNAMES.split(':');
  return Array.from({ length: Number(LISTEN_FDS) || 0 }, (_, index) => ({
    fd: FIRST_FD + index,
    name: names[index] || 'unknown',
    path: pathOfSocket(FIRST_FD + index),
    taken: false,
  }));
}

/** The file of a bound unix socket, from the kernel's list. */
function pathOfSocket(fd: number): string {
  const inode = String(fstatSync(fd).ino);
  // number, references, protocol, flags, type, state, inode, path
  const rows = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return rows.find((row) => row[6] === inode)?.[7] ?? '';
}

/**
 * Where to listen: what is configured, and the inherited sockets, which nobody would answer otherwise. An address that is
 * such a socket's own is listened on once.
 */
export function withInherited(hosts: readonly string[], sockets: readonly InheritedSocket[]): string[] {
  if (sockets.length === 0 || hosts.some((host) => host.startsWith('fd://'))) return [...hosts];
  const own = new Set(sockets.map(({ path }) => `unix://${path}`));
  return [...sockets.map(() => 'fd://'), ...hosts.filter((host) => !own.has(host))];
}

/** Sends one datagram to a unix socket. @throws errno errors */
export type SendDatagram = (path: string, data: Uint8Array) => void;

/** Who started us, if it wants to know. */
export interface ServiceManager {
  /** Says `assignments` as sd_notify(3) does: `READY=1`, `STATUS=…`. Nothing happens when nobody wants to know. */
  notify(...assignments: string[]): void;
}

/** The manager that `NOTIFY_SOCKET` names; the variable is taken out of `environment`. */
export function serviceManager(environment: NodeJS.ProcessEnv, send: SendDatagram): ServiceManager {
  const path = environment['NOTIFY_SOCKET'];
  delete environment['NOTIFY_SOCKET'];
  return {
    notify(...assignments) {
      if (!path) return;
      try {
        send(path, Buffer.from(assignments.join('\n')));
      } catch (error) {
        // it may be gone before us; that must not end the engine
        process.stderr.write(`cannot notify ${path}: ${String(error)}\n`);
      }
    },
  };
}
