/** Sockets of other network namespaces, which `node:net` and `node:dgram` then take over by their descriptor. */
import { load } from '#binding';

/** What to open. */
export interface OpenSocketOptions {
  protocol: 'tcp' | 'udp';
  /** Descriptor of the namespace, borrowed. Default: the process's own. */
  netns?: number;
  /** IPv4 or IPv6 address as text. */
  address: string;
  /** 0 picks a free one. */
  port: number;
  /** Of TCP: take connections. Default true; without, the socket is for connecting from. */
  listen?: boolean;
}

/**
 * Opens a socket that is bound to an address of a network namespace, and listens when it is for TCP, unless it is not to. An IPv6 socket takes no IPv4. It stays in its
 * namespace, which it keeps alive, whatever the calling thread does.
 *
 * @returns a non-blocking descriptor for the caller to close, or to hand to `server.listen({ fd })` or
 *   `socket.bind({ fd })`, and the port that was bound
 * @throws {Error} `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`
 */
export function openSocket(options: OpenSocketOptions): { fd: number; port: number } {
  const { protocol, netns = -1, address, port, listen = true } = options;
  return load().openSocket(netns, protocol === 'udp', address, port, listen);
}
