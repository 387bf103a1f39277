/** Unix sockets that keep message boundaries and carry file descriptors (SCM_RIGHTS); `node:net` has neither. */
import { load } from '#binding';

/** `seqpacket` keeps message boundaries, `stream` does not; `datagram` is for receivers that accept no connections. */
export type UnixSocketType = 'stream' | 'seqpacket' | 'datagram';

/** A message as received. The receiver owns the descriptors. */
export interface UnixMessage {
  /** Empty at end-of-file. */
  data: Uint8Array;
  fds: number[];
  /** The message was longer than asked for, or held more descriptors than fit. */
  truncated: boolean;
}

const TYPES = { stream: 1, datagram: 2, seqpacket: 5 } as const;

/** A connected pair of sockets, close-on-exec and blocking. The caller closes both. */
export function socketpair(type: UnixSocketType): [number, number] {
  return load().socketpair(TYPES[type]);
}

/**
 * Connects to a unix socket; the descriptor is non-blocking and close-on-exec, and the caller's to close. A path longer
 * than 107 bytes is reached through its folder: `/proc/self/fd/<folder>/<name>`.
 *
 * @throws {Error} `ENOENT`, `ECONNREFUSED` when nobody listens, `EAGAIN` when the listener's queue is full,
 *   `ENAMETOOLONG`
 */
export function connectUnix(path: string, type: UnixSocketType): number {
  return load().connectUnix(path, TYPES[type]);
}

/**
 * Listens on a unix socket, whose file is made and is the caller's to remove; the descriptor is non-blocking and
 * close-on-exec, and the caller's to close.
 *
 * @throws {Error} `EADDRINUSE` when there is a file of that name, `ENAMETOOLONG` for more than 107 bytes
 */
export function listenUnix(path: string, type: UnixSocketType): number {
  return load().listenUnix(path, TYPES[type]);
}

/** The next connection to a listening socket, as {@link connectUnix} has its end of it; undefined when nobody waits. */
export function acceptUnix(fd: number): number | undefined {
  return load().acceptUnix(fd);
}

/**
 * Sends a message without blocking. Descriptors are duplicated into the message; the caller keeps its own.
 *
 * @returns the bytes taken (all of them for `seqpacket` and `datagram`), or undefined when the socket is full
 * @throws {Error} `EPIPE`, `ECONNRESET`, `EMSGSIZE`, …
 */
export function sendMessage(fd: number, data: Uint8Array, fds: readonly number[] = []): number | undefined {
  return load().sendmsg(fd, data, [...fds]);
}

/**
 * Receives a message without blocking; undefined when there is none. Descriptors come close-on-exec.
 *
 * @param maxBytes what is longer is cut off, and `truncated` is set
 */
export function receiveMessage(fd: number, maxBytes: number): UnixMessage | undefined {
  return load().recvmsg(fd, maxBytes);
}

/** Who connected a unix socket, as the kernel recorded it (SO_PEERCRED). */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  return load().peerCredentials(fd);
}
