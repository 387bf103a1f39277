/** DNS messages: what a name server reads of a question, and how it writes its answer (RFC 1035, EDNS of RFC 6891). */

import { DnsDecodeError } from '../errors.ts';
import { addressBytes } from '../netlink/ip-address.ts';

/** Types of records that this package answers itself. */
export const DNS_TYPE = { A: 1, PTR: 12, OPT: 41, AAAA: 28 } as const;

/** Response codes. */
export const DNS_CODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;

/** What a client asks. */
export interface DnsQuery {
  /** Chosen by the client, repeated in the answer. */
  id: number;
  /** 0 for a standard query; anything else is not served. */
  opcode: number;
  recursionDesired: boolean;
  /** Lower case, without the final dot; `''` for the root. Bytes that are no plain text are escaped as `\DDD`. */
  name: string;
  /** Type of record, see {@link DNS_TYPE}. */
  type: number;
  /** 1 is the internet. */
  class: number;
  /** Bytes the client takes in one datagram: 512 without EDNS. */
  udpSizeBytes: number;
  /** Whether the client spoke EDNS, so that the answer should, too. */
  edns: boolean;
  /** The question as it came, for the answer to repeat it letter by letter. */
  question: Uint8Array;
}

/** One record of an answer; its owner is the name that was asked. */
export type DnsRecord =
  | { type: typeof DNS_TYPE.A | typeof DNS_TYPE.AAAA; ttlSeconds: number; address: string }
  | { type: typeof DNS_TYPE.PTR; ttlSeconds: number; target: string };

/** What {@link encodeAnswer} writes beside the question. */
export interface DnsAnswer {
  /** Default `NOERROR`. */
  code?: number;
  records?: readonly DnsRecord[];
}

const HEADER_BYTES = 12;
const LEAST_UDP_BYTES = 512;
// advertised with EDNS; fits every path of a container, and is what the DNS flag day of 2020 recommends
const OUR_UDP_BYTES = 1232;

/**
 * Reads a query.
 *
 * @throws {DnsDecodeError} when the bytes are not one: too short, a response, other than one question, or a name that
 * is too long, points anywhere (a first name has nothing to point at) or does not end
 */
export function decodeQuery(bytes: Uint8Array): DnsQuery {
  if (bytes.length < HEADER_BYTES)
    throw new DnsDecodeError(`a DNS message of ${bytes.length} bytes has no header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint16(2);
  if (flags & 0x8000) throw new DnsDecodeError('a DNS response where a query should be');
  if (view.getUint16(4) !== 1) throw new DnsDecodeError(`a DNS query with ${view.getUint16(4)} questions`);
  const { name, end } = readName(bytes, HEADER_BYTES);
  if (end + 4 > bytes.length) throw new DnsDecodeError('a DNS question ends before its type and class');
  const udpSizeBytes = advertisedSize(view, end + 4);
  return {
    id: view.getUint16(0),
    opcode: (flags >> 11) & 0xf,
    recursionDesired: (flags & 0x0100) !== 0,
    name,
    type: view.getUint16(end),
    class: view.getUint16(end + 2),
    udpSizeBytes: Math.max(udpSizeBytes ?? 0, LEAST_UDP_BYTES),
    edns: udpSizeBytes !== undefined,
    question: bytes.subarray(HEADER_BYTES, end + 4),
  };
}

/** The question of a message, query or response, in a form that is the same for the same question; undefined without one. */
export function questionOf(bytes: Uint8Array): string | undefined {
  if (bytes.length < HEADER_BYTES || bytes[4] !== 0 || bytes[5] !== 1) return undefined;
  try {
    const { name, end } = readName(bytes, HEADER_BYTES);
    if (end + 4 > bytes.length) return undefined;
    return `${name} ${Buffer.from(bytes.subarray(end, end + 4)).toString('hex')}`;
  } catch (error) {
    if (error instanceof DnsDecodeError) return undefined;
    throw error;
  }
}

/**
 * Writes an answer to `query`. Where it would be longer than `limitBytes`, records are left out and the answer is
 * marked as truncated, so that the client asks again over TCP.
 */
export function encodeAnswer(
  query: DnsQuery,
  { code = DNS_CODE.NOERROR, records = [] }: DnsAnswer,
  limitBytes = 65535,
): Uint8Array {
  const option = query.edns
    ? Uint8Array.of(0, 0, DNS_TYPE.OPT, OUR_UDP_BYTES >> 8, OUR_UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0)
    : new Uint8Array();
  let lengthBytes = HEADER_BYTES + query.question.length + option.length;
  const kept: Uint8Array[] = [];
  for (const record of records) {
    const encoded = encodeRecord(record);
    if (lengthBytes + encoded.length > limitBytes) break;
    lengthBytes += encoded.length;
    kept.push(encoded);
  }
  const header = Buffer.alloc(HEADER_BYTES);
  const truncated = kept.length < records.length;
  header.writeUInt16BE(query.id, 0);
  // a response, recursion available; authoritative is left out, since most answers may come from elsewhere
  header.writeUInt16BE(
    0x8080 | (query.opcode << 11) | (truncated ? 0x0200 : 0) | (query.recursionDesired ? 0x0100 : 0) | code,
    2,
  );
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(kept.length, 6);
  header.writeUInt16BE(query.edns ? 1 : 0, 10);
  return Buffer.concat([header, query.question, ...kept, option]);
}

/** The address that a name below `in-addr.arpa` or `ip6.arpa` stands for; undefined when it stands for none. */
export function reverseAddress(name: string): string | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4) {
    const parts = v4.slice(1).toReversed();
    return parts.every((part) => Number(part) < 256 && String(Number(part)) === part)
      ? parts.join('.')
      : undefined;
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (!v6) return undefined;
  const digits = v6.replaceAll('.', '').split('').toReversed().join('');
  return new URL(`http://[${digits.match(/.{4}/g)!.join(':')}]`).hostname.slice(1, -1);
}

function readName(bytes: Uint8Array, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw new DnsDecodeError('a DNS name ends before its last label');
    if (length === 0) return { name: labels.join('.'), end: at + 1 };
    // also pointers: nothing stands before the first name, so one can only lead in circles
    if (length > 63) throw new DnsDecodeError('a DNS question with a compressed name');
    // 255 with all lengths and the final zero (RFC 1035, 2.3.4)
    if (at + 1 + length - start > 254) throw new DnsDecodeError('a DNS name of more than 255 bytes');
    if (at + 1 + length > bytes.length) throw new DnsDecodeError('a DNS label ends before its length');
    labels.push(labelText(bytes.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
}

function labelText(label: Uint8Array): string {
  let text = '';
  for (const byte of label) {
    // a dot inside of a label must not look like the border of two
    if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e || byte === 0x5c)
      text += `\\${String(byte).padStart(3, '0')}`;
    else text += String.fromCharCode(byte);
  }
  return text.toLowerCase();
}

// EDNS stands in the additional section, which a query has directly behind its question
function advertisedSize(view: DataView, at: number): number | undefined {
  const isFirst = view.getUint16(6) === 0 && view.getUint16(8) === 0 && view.getUint16(10) > 0;
  if (!isFirst || at + 11 > view.byteLength || view.getUint8(at) !== 0) return undefined;
  return view.getUint16(at + 1) === DNS_TYPE.OPT ? view.getUint16(at + 3) : undefined;
}

function encodeRecord(record: DnsRecord): Uint8Array {
  const data = record.type === DNS_TYPE.PTR ? encodeName(record.target) : addressBytes(record.address);
  const head = Buffer.alloc(12);
  // the owner: a pointer to the question
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(record.type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(record.ttlSeconds, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function encodeName(name: string): Uint8Array {
  const labels = name
    .split('.')
    .filter((label) => label !== '')
    .map((label) => Buffer.from(label));
  if (labels.some((label) => label.length > 63))
    throw new RangeError(`"${name}" has a label of more than 63 bytes`);
  return Buffer.concat([
    ...labels.flatMap((label) => [Uint8Array.of(label.length), label]),
    Uint8Array.of(0),
  ]);
}
