/** What the driver needs of the operating system and cannot do in TypeScript. */

import type { NetlinkTransport } from './netlink/connection.ts';
import type { NetlinkEventSource } from './netlink/events.ts';

/** A host port that is ours until closed, or until the process ends. */
export interface PortReservation {
  /** The port as bound. */
  readonly port: number;
  /** Twice is fine. */
  close(): void;
}

/** Sockets of network namespaces, as descriptors. */
export interface SocketKernel {
  /**
   * Opens a socket bound to an address of a namespace (a borrowed descriptor, or -1 for this process's own), listening
   * when it is for TCP, unless `listen` is false. An IPv6 socket takes no IPv4. The caller hands the descriptor on, or closes it. Port 0 picks a
   * free one.
   */
  openSocket(options: {
    protocol: 'tcp' | 'udp';
    netns: number;
    address: string;
    port: number;
    listen?: boolean;
  }): { fd: number; port: number };
}

/** The native calls behind the driver. The shipped one is `@tare/runtime-native`; tests record or replace it. */
export interface NetworkKernel extends SocketKernel {
  /** Opens a netlink socket in this process's network namespace, or in that of a borrowed descriptor. */
  openNetlink(options: { protocol: 'route' | 'netfilter'; netns?: number }): NetlinkTransport;
  /** Opens a netlink socket that hears of changes: multicast groups by their numbers (`RTNLGRP_*`, `NFNLGRP_*`). */
  openNetlinkEvents(options: {
    protocol: 'route' | 'netfilter';
    netns?: number;
    groups: readonly number[];
  }): NetlinkEventSource;
  /**
   * Opens the network namespace that is bound to a path. The caller closes the descriptor (`node:fs.closeSync`).
   *
   * @throws {Error} with `code` `'ENOENT'`, or `'EINVAL'` when the file is not a namespace
   */
  openNetworkNamespace(path: string): number;
  /**
   * Writes sysctls (`net/ipv6/conf/default/accept_ra`) in the network namespace of a borrowed descriptor, passing by
   * those that the kernel does not have.
   */
  writeSysctls(netns: number, settings: Readonly<Record<string, string>>): Promise<void>;
  /**
   * Binds a port so that nobody else can, without ever taking what arrives at it. Port 0 picks a free one.
   *
   * @throws {Error} with `code` `'EADDRINUSE'`, `'EADDRNOTAVAIL'`, `'EACCES'`
   */
  reservePort(options: { protocol: 'tcp' | 'udp'; address: string; port: number }): PortReservation;
}
