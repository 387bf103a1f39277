/** Routes, of either family. See rtnetlink(7) and `<linux/rtnetlink.h>`. */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressFamily, addressText } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_ROUTE = { NEW: 24, DEL: 25, GET: 26 } as const;

/** The routing table that everybody uses. */
export const MAIN_TABLE = 254;
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
  table: number;
  type: number;
  scope: number;
}

/** Adds a route through `gateway`, whose family decides which; to everywhere when no destination is named. */
export function addRoute(options: {
  destination?: { address: string; prefixLength: number };
  gateway: string;
  linkIndex: number;
}): NetlinkRequest {
  const { destination, linkIndex } = options;
  const gateway = addressBytes(options.gateway);
  const name = destination ? `${destination.address}/${destination.prefixLength}` : 'everywhere';
  const writer = new AttributeWriter(64).raw(
    header(addressFamily(gateway), destination?.prefixLength ?? 0, ROUTE_SCOPE.UNIVERSE),
  );
  if (destination) writer.bytes(RTA.DST, addressBytes(destination.address));
  return {
    description: `add route to ${name} via ${options.gateway}`,
    type: RTM_ROUTE.NEW,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    payload: writer.bytes(RTA.GATEWAY, gateway).u32(RTA.OIF, linkIndex).finish(),
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
    // table numbers outgrew their byte
    table: attributes.u32(RTA.TABLE) ?? payload[4]!,
    scope: payload[6]!,
    type: payload[7]!,
  };
}

function header(family: number, prefixLength: number, scope: number): Buffer {
  const { UNICAST } = ROUTE_TYPE;
  return Buffer.from([family, prefixLength, 0, 0, MAIN_TABLE, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0]);
}
