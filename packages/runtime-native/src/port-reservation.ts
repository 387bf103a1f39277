/** Host ports that are bound only so that nobody else takes them: packets for them are redirected before any socket. */
import { closeSync } from 'node:fs';

import { load } from '#binding';

/** A port that is ours until closed, or until the process ends. */
export interface PortReservation extends Disposable {
  /** The port as bound. */
  readonly port: number;
  /** Gives the port back. Closing twice is fine. */
  close(): void;
}

/** What to reserve. */
export interface ReservePortOptions {
  protocol: 'tcp' | 'udp';
  /** IPv4 or IPv6 address as text; `0.0.0.0` and `::` are every address of their family alone. */
  address: string;
  /** 0 picks a free one. */
  port: number;
}

/**
 * Binds a port without serving it: TCP connections that reach it are refused, UDP datagrams are dropped.
 *
 * @throws {Error} `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`
 */
export function reservePort(options: ReservePortOptions): PortReservation {
  const { fd, port } = load().bindPort(options.protocol === 'udp', options.address, options.port);
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  return { port, close, [Symbol.dispose]: close };
}
