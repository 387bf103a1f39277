/**
 * Netlink messages: the 16-byte header, several messages in one buffer, and the kernel's answers (error, extended
 * acknowledgement). Host byte order is little endian on every machine that this package supports.
 *
 * See netlink(7) and `<linux/netlink.h>`.
 */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes } from './attributes.ts';

/** Header flags (`NLM_F_*`); the meanings of 0x100 and above depend on the kind of request. */
export const NLM_F = {
  REQUEST: 0x1,
  MULTI: 0x2,
  ACK: 0x4,
  DUMP_INTR: 0x10,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  DUMP: 0x300,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;

/** Message types that every protocol shares (`NLMSG_*`). */
export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

/** Length of the message header. */
export const HEADER_BYTES = 16;

/** A request before it has a sequence number. */
export interface NetlinkRequest {
  /** For error messages: what the request attempts, for example `create bridge br0`. */
  readonly description: string;
  readonly type: number;
  /** Without REQUEST and ACK, which the connection adds. */
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** A received message. */
export interface NetlinkMessage {
  type: number;
  flags: number;
  sequence: number;
  portId: number;
  /** A view of the received buffer, without the header and the padding. */
  payload: Uint8Array;
}

/** The kernel's verdict on one request. */
export interface NetlinkAnswer {
  /** 0 for an acknowledgement, else a positive errno. */
  errno: number;
  message: string | undefined;
  offset: number | undefined;
}

/** Rounds up to the 4 bytes that headers and attributes are aligned to. */
export function align4(length: number): number {
  return (length + 3) & ~3;
}

/** Encodes one message, header and padding included. */
export function encodeMessage(
  { type, flags, payload }: Pick<NetlinkRequest, 'type' | 'flags' | 'payload'>,
  sequence: number,
): Buffer {
  const length = HEADER_BYTES + payload.length;
  const bytes = Buffer.alloc(align4(length));
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/**
 * Splits a received datagram into its messages.
 *
 * @throws {NetlinkDecodeError} when a length points outside of the buffer
 */
export function decodeMessages(datagram: Uint8Array): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset < datagram.length;) {
    if (datagram.length - offset < HEADER_BYTES) {
      throw new NetlinkDecodeError(`netlink header at byte ${offset} is cut off at ${datagram.length}`);
    }
    const length = view.getUint32(offset, true);
    if (length < HEADER_BYTES || length > datagram.length - offset) {
      throw new NetlinkDecodeError(
        `netlink message at byte ${offset} claims ${length} of the ${datagram.length - offset} bytes there are`,
      );
    }
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      portId: view.getUint32(offset + 12, true),
      payload: datagram.subarray(offset + HEADER_BYTES, offset + length),
    });
    offset += align4(length);
  }
  return messages;
}

const EXT_ACK = { MESSAGE: 1, OFFSET: 2 } as const;

/**
 * Reads an `NLMSG_ERROR` or `NLMSG_DONE` message.
 *
 * @throws {NetlinkDecodeError} when it is too short to hold what its flags promise
 */
export function decodeAnswer(message: NetlinkMessage): NetlinkAnswer {
  const { payload, flags } = message;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (payload.length < 4) {
    // a dump of the netfilter subsystems may end with a bare header
    if (message.type === NLMSG.DONE) return { errno: 0, message: undefined, offset: undefined };
    throw new NetlinkDecodeError(`netlink error message holds ${payload.length} bytes, not an errno`);
  }
  const errno = Math.abs(view.getInt32(0, true));
  if ((flags & NLM_F.ACK_TLVS) === 0) return { errno, message: undefined, offset: undefined };
  let start = 4;
  if (message.type === NLMSG.ERROR) {
    if (payload.length < 4 + HEADER_BYTES) {
      throw new NetlinkDecodeError('netlink error message lacks the header of the request it answers');
    }
    // the request itself follows its header unless the kernel cut it off
    const echoed = (flags & NLM_F.CAPPED) === 0 ? view.getUint32(4, true) : HEADER_BYTES;
    start += align4(echoed);
    if (echoed < HEADER_BYTES || start > payload.length) {
      throw new NetlinkDecodeError(`netlink error message claims to echo ${echoed} bytes`);
    }
  }
  const attributes = Attributes.decode(payload.subarray(start));
  return {
    errno,
    message: attributes.string(EXT_ACK.MESSAGE),
    offset: attributes.u32(EXT_ACK.OFFSET),
  };
}
