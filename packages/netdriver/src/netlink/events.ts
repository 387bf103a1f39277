/** Changes that the kernel tells of by itself: links, addresses, routes, neighbours, nf_tables. */

import { decodeMessages, type NetlinkMessage } from './message.ts';

/** A socket that is a member of multicast groups; `NetlinkSocket` of `@tare/runtime-native/netlink` is one. */
export interface NetlinkEventSource {
  /** Datagrams as they arrive, until aborted (throws the reason) or closed. A loss of messages throws `ENOBUFS`. */
  events(options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  close(): void;
}

/** Multicast groups of rtnetlink (`RTNLGRP_*`) and of nfnetlink (`NFNLGRP_*`). */
export const NETLINK_GROUP = {
  LINK: 1,
  NEIGHBOUR: 3,
  IPV4_ADDRESS: 5,
  IPV4_ROUTE: 7,
  IPV4_RULE: 8,
  IPV6_ADDRESS: 9,
  IPV6_ROUTE: 11,
  IPV6_RULE: 19,
  CONNTRACK_NEW: 1,
  CONNTRACK_DESTROY: 3,
  NFTABLES: 7,
} as const;

/**
 * The messages that arrive for a socket's groups, one by one. Decode them as those of a listing.
 *
 * @throws {Error} `ENOBUFS` when the kernel dropped some: list the state anew and go on
 */
export async function* netlinkEvents(
  source: NetlinkEventSource,
  options: { signal?: AbortSignal } = {},
): AsyncIterable<NetlinkMessage> {
  for await (const datagram of source.events(options)) yield* decodeMessages(datagram);
}
