/** Neighbour entries: what the kernel believes about which MAC address an IP address is at. See rtnetlink(7). */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressFamily, addressText } from './ip-address.ts';
import { macBytes, macText } from './link.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_NEIGHBOUR = { NEW: 28, DEL: 29, GET: 30 } as const;

const NDA = { DST: 1, LLADDR: 2 } as const;

/** A neighbour entry. */
export interface Neighbour {
  linkIndex: number;
  address: string;
  macAddress: string | undefined;
  /** `NUD_*` bits. */
  state: number;
}

/** States of an entry (`NUD_*`). */
export const NEIGHBOUR_STATE = { REACHABLE: 0x02, STALE: 0x04, FAILED: 0x20, PERMANENT: 0x80 } as const;

/** Says which MAC address an address is at, in place of what the kernel found out; permanent unless said otherwise. */
export function addNeighbour(options: {
  linkIndex: number;
  address: string;
  macAddress: string;
  state?: number;
}): NetlinkRequest {
  const { linkIndex, address, macAddress, state = NEIGHBOUR_STATE.PERMANENT } = options;
  const bytes = addressBytes(address);
  const fixed = header(addressFamily(bytes), linkIndex);
  fixed.writeUInt16LE(state, 8);
  return {
    description: `add neighbour ${address}`,
    type: RTM_NEIGHBOUR.NEW,
    flags: NLM_F.CREATE | NLM_F.REPLACE,
    payload: new AttributeWriter(64)
      .raw(fixed)
      .bytes(NDA.DST, bytes)
      .bytes(NDA.LLADDR, macBytes(macAddress))
      .finish(),
  };
}

/** Forgets what is known about an address; ENOENT when nothing is. */
export function deleteNeighbour(options: { linkIndex: number; address: string }): NetlinkRequest {
  const bytes = addressBytes(options.address);
  return {
    description: `forget neighbour ${options.address}`,
    type: RTM_NEIGHBOUR.DEL,
    flags: 0,
    payload: new AttributeWriter(64)
      .raw(header(addressFamily(bytes), options.linkIndex))
      .bytes(NDA.DST, bytes)
      .finish(),
  };
}

/** Asks for every neighbour entry of a family. */
export function dumpNeighbours(family: number): NetlinkRequest {
  return {
    description: 'list neighbours',
    type: RTM_NEIGHBOUR.GET,
    flags: NLM_F.DUMP,
    payload: header(family, 0),
  };
}

/**
 * Reads an `RTM_NEWNEIGH` or `RTM_DELNEIGH` message; undefined for any other.
 *
 * @throws {NetlinkDecodeError} when it is cut off
 */
export function decodeNeighbour(message: NetlinkMessage): Neighbour | undefined {
  const { type, payload } = message;
  if (type !== RTM_NEIGHBOUR.NEW && type !== RTM_NEIGHBOUR.DEL) return undefined;
  if (payload.length < 12) {
    throw new NetlinkDecodeError(
      `neighbour message holds ${payload.length} bytes, fewer than its 12-byte header`,
    );
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = Attributes.decode(payload.subarray(12));
  const destination = attributes.bytes(NDA.DST);
  const address = destination && addressText(destination);
  if (address === undefined) return undefined;
  const mac = attributes.bytes(NDA.LLADDR);
  return {
    linkIndex: view.getInt32(4, true),
    address,
    macAddress: mac?.length === 6 ? macText(mac) : undefined,
    state: view.getUint16(8, true),
  };
}

function header(family: number, linkIndex: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes[0] = family;
  bytes.writeInt32LE(linkIndex, 4);
  return bytes;
}
