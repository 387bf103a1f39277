/** Interface addresses, of either family. See rtnetlink(7) and `<linux/if_addr.h>`. */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressFamily, addressText, AF } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_ADDRESS = { NEW: 20, DEL: 21, GET: 22 } as const;

const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const;
/** Skip duplicate address detection: the pool has seen to it, and it would cost IPv6 a second. */
const IFA_F_NODAD = 0x02;

/** An address on an interface. */
export interface InterfaceAddress {
  linkIndex: number;
  address: string;
  prefixLength: number;
}

/** Adds an address; with `replace`, one that is there already is no error. */
export function addAddress(address: InterfaceAddress, options?: { replace?: boolean }): NetlinkRequest {
  return {
    description: `add address ${address.address}/${address.prefixLength}`,
    type: RTM_ADDRESS.NEW,
    flags: NLM_F.CREATE | (options?.replace ? NLM_F.REPLACE : NLM_F.EXCL),
    payload: encode(address),
  };
}

/** Removes an address. */
export function deleteAddress(address: InterfaceAddress): NetlinkRequest {
  return {
    description: `delete address ${address.address}/${address.prefixLength}`,
    type: RTM_ADDRESS.DEL,
    flags: 0,
    payload: encode(address),
  };
}

/** Asks for the addresses of every interface, of one family or (AF.UNSPEC) of all. */
export function dumpAddresses(family: number): NetlinkRequest {
  return {
    description: 'list addresses',
    type: RTM_ADDRESS.GET,
    flags: NLM_F.DUMP,
    payload: header(family, 0, 0, 0),
  };
}

/**
 * Reads an `RTM_NEWADDR` or `RTM_DELADDR` message; undefined for any other.
 *
 * @throws {NetlinkDecodeError} when it is cut off
 */
export function decodeAddress(message: NetlinkMessage): InterfaceAddress | undefined {
  const { type, payload } = message;
  if (type !== RTM_ADDRESS.NEW && type !== RTM_ADDRESS.DEL) return undefined;
  if (payload.length < 8) {
    throw new NetlinkDecodeError(
      `address message holds ${payload.length} bytes, fewer than its 8-byte header`,
    );
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = Attributes.decode(payload.subarray(8));
  // on point-to-point links ADDRESS is the far end; LOCAL is absent for IPv6
  const bytes = attributes.bytes(IFA.LOCAL) ?? attributes.bytes(IFA.ADDRESS);
  const address = bytes && addressText(bytes);
  if (address === undefined) return undefined;
  return { linkIndex: view.getUint32(4, true), address, prefixLength: payload[1]! };
}

function encode({ linkIndex, address, prefixLength }: InterfaceAddress): Buffer {
  const bytes = addressBytes(address);
  const family = addressFamily(bytes);
  const writer = new AttributeWriter(64)
    .raw(header(family, prefixLength, family === AF.INET6 ? IFA_F_NODAD : 0, linkIndex))
    .bytes(IFA.LOCAL, bytes)
    .bytes(IFA.ADDRESS, bytes);
  if (family === AF.INET && prefixLength < 31) writer.bytes(IFA.BROADCAST, broadcast(bytes, prefixLength));
  return writer.finish();
}

function header(family: number, prefixLength: number, flags: number, linkIndex: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = family;
  bytes[1] = prefixLength;
  bytes[2] = flags;
  bytes.writeUInt32LE(linkIndex, 4);
  return bytes;
}

function broadcast(bytes: Uint8Array, prefixLength: number): Uint8Array {
  return bytes.map((byte, i) => byte | (0xff >> Math.min(8, Math.max(0, prefixLength - 8 * i))));
}
