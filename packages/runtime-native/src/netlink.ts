/**
 * Netlink sockets of any network namespace: bytes in, datagrams out. Encoding and understanding messages is the
 * caller's (`@tare/netdriver` does it for rtnetlink and nf_tables).
 */
import { closeSync } from 'node:fs';

import { load } from '#binding';
import type { NativeNetlinkSocket, NativeWatcher } from '#binding';
import { openNetworkNamespace } from './network-namespace.ts';

/** A netlink socket. Requests and events do not mix: open one socket without groups for requests, another for events. */
export interface NetlinkSocket extends Disposable {
  /** The socket's netlink address (`nlmsg_pid` of the replies). */
  readonly portId: number;
  /**
   * Sends `bytes` as one datagram, which may hold several messages (a batch), and returns every datagram the kernel
   * answered with: acks, errors and whole dumps. The kernel has answered in full when the call returns.
   *
   * Blocks the event loop meanwhile: microseconds for most requests, tens of milliseconds for the removal of links; use
   * {@link request} for those.
   *
   * @throws {Error} `ENOBUFS` when replies were lost, or whatever else send(2) or recv(2) fail with. A refusal of a
   *   message is no error here but an NLMSG_ERROR in the replies.
   */
  exchange(bytes: Uint8Array): Uint8Array[];
  /** {@link exchange} on another thread. Requests run one after another in the order of their calls. */
  request(bytes: Uint8Array): Promise<Uint8Array[]>;
  /**
   * The datagrams that arrive for the socket's groups, until `signal` aborts (then it throws the signal's reason) or the
   * socket is closed (then it ends). A loss of messages throws `ENOBUFS`: list the state anew and call again.
   */
  events(options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Closes the socket; a request in flight still completes. Closing twice is fine. */
  close(): void;
}

/** What to open. */
export interface OpenNetlinkOptions {
  protocol: 'route' | 'netfilter';
  /** Namespace to open it in: a path it is bound to, or a descriptor of it (borrowed). Default: the process's own. */
  netns?: string | number;
  /** Multicast groups to join, by number (RTNLGRP_…, NFNLGRP_…). Default none. */
  groups?: readonly number[];
}

const PROTOCOLS = { route: 0, netfilter: 12 } as const;
const READABLE = 1;

/**
 * Opens a netlink socket with large buffers, extended error reports (NETLINK_EXT_ACK) and errors that do not repeat the
 * request (NETLINK_CAP_ACK). It stays in its namespace whatever the calling thread does.
 *
 * @throws {Error} errno codes: `ENOENT` for a missing namespace path, `EPERM` without the right to enter it
 */
export function openNetlink(options: OpenNetlinkOptions): NetlinkSocket {
  const { protocol, netns = -1, groups = [] } = options;
  const borrowed = typeof netns === 'number';
  const fd = borrowed ? netns : openNetworkNamespace(netns);
  try {
    const native = new (load().NetlinkSocket)(PROTOCOLS[protocol], fd, [...groups]);
    return new KernelNetlinkSocket(native);
  } finally {
    if (!borrowed) closeSync(fd);
  }
}

class KernelNetlinkSocket implements NetlinkSocket {
  readonly portId: number;
  readonly #native: NativeNetlinkSocket;
  readonly #closed = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  constructor(native: NativeNetlinkSocket) {
    this.#native = native;
    this.portId = native.portId;
  }

  exchange(bytes: Uint8Array): Uint8Array[] {
    return this.#native.exchange(bytes);
  }

  request(bytes: Uint8Array): Promise<Uint8Array[]> {
    // chained: two pool threads could otherwise send in either order
    const next = this.#last.then(
      () => this.#native.request(bytes),
      () => this.#native.request(bytes),
    );
    this.#last = next;
    return next;
  }

  async *events(options: { signal?: AbortSignal } = {}): AsyncIterable<Uint8Array> {
    const { signal } = options;
    let wake: (() => void) | undefined;
    let watcher: NativeWatcher | undefined;
    const onEnd = (): void => wake?.();
    signal?.addEventListener('abort', onEnd);
    this.#closed.signal.addEventListener('abort', onEnd);
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (this.#closed.signal.aborted) return;
        const datagrams = this.#native.receive();
        if (datagrams.length > 0) {
          yield* datagrams;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
          watcher = new (load().Watcher)(this.#native.fd, READABLE, () => resolve());
        });
        watcher?.close();
      }
    } finally {
      watcher?.close();
      signal?.removeEventListener('abort', onEnd);
      this.#closed.signal.removeEventListener('abort', onEnd);
    }
  }

  close(): void {
    this.#native.close();
    this.#closed.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

// what else a network driver needs of the kernel
export {
  createNetworkNamespace,
  openNetworkNamespace,
  readSysctl,
  removeNetworkNamespace,
  writeSysctls,
} from './network-namespace.ts';
export { openSocket } from './namespace-socket.ts';
export type { OpenSocketOptions } from './namespace-socket.ts';
export { reservePort } from './port-reservation.ts';
export type { PortReservation, ReservePortOptions } from './port-reservation.ts';
