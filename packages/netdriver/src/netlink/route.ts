/** Routes, of either family. See rtnetlink(7) and `<linux/rtnetlink.h>`. */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressFamily, addressText, AF } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_ROUTE = { NEW: 24, DEL: 25, GET: 26 } as const;

/** The routing table that everybody uses. */
export const MAIN_TABLE = 254;
/** The table of the host's own addresses, which the kernel keeps. */
const LOCAL_TABLE = 255;
/** Route types (`RTN_*`). */
export const ROUTE_TYPE = { UNICAST: 1, LOCAL: 2, BROADCAST: 3 } as const;
/** Scopes (`RT_SCOPE_*`): a link route needs no gateway. */
export const ROUTE_SCOPE = { UNIVERSE: 0, LINK: 253, HOST: 254 } as const;

/** Set by an administrator or a program, not by the kernel (`RTPROT_STATIC`). */
const PROTOCOL_STATIC = 4;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, TABLE: 15 } as const;

/** A route. */
export interface Route {
  /** undefined for the default route. */
  destination: { address: string; prefixLength: number } | undefined;
  gateway: string | undefined;
  linkIndex: number | undefined;
  metric: number | undefined;
  table: number;
  type: number;
  scope: number;
}

/** A route to add or delete. */
export interface RouteOptions {
  /** Everywhere when absent. */
  destination?: { address: string; prefixLength: number };
  /** The router to send to; without one the destination is on the link. */
  gateway?: string;
  /** Needed when neither address tells (everywhere, on the link). */
  family?: number;
  linkIndex: number;
  /** The lower, the better; the kernel's choice when absent. */
  metric?: number;
  /** Default {@link MAIN_TABLE}. */
  table?: number;
}

/** Adds a route; with `replace` in place of the one that leads to the same destination. */
export function addRoute(options: RouteOptions & { replace?: boolean }): NetlinkRequest {
  return {
    description: `add route to ${describe(options)}`,
    type: RTM_ROUTE.NEW,
    flags: NLM_F.CREATE | (options.replace ? NLM_F.REPLACE : NLM_F.EXCL),
    payload: encode(options),
  };
}

/** Deletes a route; ESRCH when there is none. */
export function deleteRoute(options: RouteOptions): NetlinkRequest {
  return {
    description: `delete route to ${describe(options)}`,
    type: RTM_ROUTE.DEL,
    flags: 0,
    payload: encode(options),
  };
}

/** Makes ::1 an address that is also reached by way of a link. */
export function addLoopbackRoute(linkIndex: number): NetlinkRequest {
  const header = Buffer.from([
    AF.INET6,
    128,
    0,
    0,
    LOCAL_TABLE,
    PROTOCOL_STATIC,
    0,
    ROUTE_TYPE.LOCAL,
    0,
    0,
    0,
    0,
  ]);
  return {
    description: `add route to ::1 by link ${linkIndex}`,
    type: RTM_ROUTE.NEW,
    flags: NLM_F.CREATE,
    payload: new AttributeWriter(64)
      .raw(header)
      .bytes(RTA.DST, addressBytes('::1'))
      .u32(RTA.OIF, linkIndex)
      // behind lo's own, and one for each link
      .u32(RTA.PRIORITY, 1024 + linkIndex)
      .finish(),
  };
}

function encode({
  destination,
  gateway,
  family,
  linkIndex,
  metric,
  table = MAIN_TABLE,
}: RouteOptions): Buffer {
  const target = destination && addressBytes(destination.address);
  const via = gateway === undefined ? undefined : addressBytes(gateway);
  const known = via ?? target;
  const scope = via || known?.length === 16 || family === AF.INET6 ? ROUTE_SCOPE.UNIVERSE : ROUTE_SCOPE.LINK;
  const writer = new AttributeWriter(64).raw(
    header(known ? addressFamily(known) : (family ?? AF.INET), destination?.prefixLength ?? 0, scope, table),
  );
  if (target) writer.bytes(RTA.DST, target);
  if (via) writer.bytes(RTA.GATEWAY, via);
  writer.u32(RTA.OIF, linkIndex);
  if (metric !== undefined) writer.u32(RTA.PRIORITY, metric);
  if (table > 255) writer.u32(RTA.TABLE, table);
  return writer.finish();
}

function describe({ destination, gateway }: RouteOptions): string {
  const target = destination ? `${destination.address}/${destination.prefixLength}` : 'everywhere';
  return gateway === undefined ? target : `${target} via ${gateway}`;
}

/** Asks which route the kernel would take to an address. */
export function lookUpRoute(address: string): NetlinkRequest {
  const bytes = addressBytes(address);
  const payload = Buffer.alloc(12);
  payload[0] = addressFamily(bytes);
  payload[1] = bytes.length * 8;
  return {
    description: `find route to ${address}`,
    type: RTM_ROUTE.GET,
    flags: 0,
    payload: new AttributeWriter(48).raw(payload).bytes(RTA.DST, bytes).finish(),
  };
}

/** Asks for every route of a family. */
export function dumpRoutes(family: number): NetlinkRequest {
  const payload = Buffer.alloc(12);
  payload[0] = family;
  return { description: 'list routes', type: RTM_ROUTE.GET, flags: NLM_F.DUMP, payload };
}

/**
 * Reads an `RTM_NEWROUTE` or `RTM_DELROUTE` message; undefined for any other.
 *
 * @throws {NetlinkDecodeError} when it is cut off
 */
export function decodeRoute(message: NetlinkMessage): Route | undefined {
  const { type, payload } = message;
  if (type !== RTM_ROUTE.NEW && type !== RTM_ROUTE.DEL) return undefined;
  if (payload.length < 12) {
    throw new NetlinkDecodeError(
      `route message holds ${payload.length} bytes, fewer than its 12-byte header`,
    );
  }
  const attributes = Attributes.decode(payload.subarray(12));
  const destination = attributes.bytes(RTA.DST);
  const address = destination && addressText(destination);
  const gateway = attributes.bytes(RTA.GATEWAY);
  return {
    destination: address === undefined ? undefined : { address, prefixLength: payload[1]! },
    gateway: gateway && addressText(gateway),
    linkIndex: attributes.u32(RTA.OIF),
    metric: attributes.u32(RTA.PRIORITY),
    // table numbers outgrew their byte
    table: attributes.u32(RTA.TABLE) ?? payload[4]!,
    scope: payload[6]!,
    type: payload[7]!,
  };
}

function header(family: number, prefixLength: number, scope: number, table: number): Buffer {
  const { UNICAST } = ROUTE_TYPE;
  const byte = table > 255 ? 0 : table;
  return Buffer.from([family, prefixLength, 0, 0, byte, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0]);
}
