/** CIDR blocks of IPv4 and IPv6 addresses: parsing, containment, overlap, arithmetic. */

import { addressBytes, addressText } from './netlink/ip-address.ts';

/** A block of addresses. Addresses are numbers as wide as the family. */
export interface AddressRange {
  readonly family: 4 | 6;
  /** The lowest address, host bits zero. */
  readonly first: bigint;
  /** The highest address. */
  readonly last: bigint;
  readonly prefixLength: number;
}

/** An address with the block around it: `172.17.0.2/16`. */
export interface AddressInRange {
  readonly address: bigint;
  readonly range: AddressRange;
}

/** @throws {RangeError} when `text` is not an IP address */
export function parseAddress(text: string): { family: 4 | 6; value: bigint } {
  const bytes = addressBytes(text);
  return {
    family: bytes.length === 4 ? 4 : 6,
    value: bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n),
  };
}

/** The text of an address. */
export function formatAddress(family: 4 | 6, value: bigint): string {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  for (let i = bytes.length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return addressText(bytes)!;
}

/**
 * Reads `172.17.0.2/16`: the address and its block.
 *
 * @throws {RangeError} when it is not an address with a prefix length
 */
export function parseCidr(text: string): AddressInRange {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  if (!match) throw new RangeError(`"${text}" is not a subnet such as 172.17.0.0/16`);
  const { family, value } = parseAddress(match[1]!);
  const prefixLength = Number(match[2]);
  const width = family === 4 ? 32 : 128;
  if (prefixLength > width) {
    throw new RangeError(`"${text}" has a prefix longer than the ${width} bits of its address`);
  }
  return { address: value, range: rangeAround(family, value, prefixLength) };
}

/** The block of `prefixLength` that an address is in. */
export function rangeAround(family: 4 | 6, address: bigint, prefixLength: number): AddressRange {
  const hostBits = BigInt((family === 4 ? 32 : 128) - prefixLength);
  const first = (address >> hostBits) << hostBits;
  return { family, first, last: first + (1n << hostBits) - 1n, prefixLength };
}

/** `172.17.0.0/16`. */
export function formatRange(range: AddressRange): string {
  return `${formatAddress(range.family, range.first)}/${range.prefixLength}`;
}

/** Whether two blocks share an address. */
export function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Whether `outer` holds every address of `inner`. */
export function contains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

/** Cuts a block into blocks of `prefixLength`, lowest first. */
export function* split(range: AddressRange, prefixLength: number): Generator<AddressRange> {
  const size = 1n << BigInt((range.family === 4 ? 32 : 128) - prefixLength);
  for (let first = range.first; first <= range.last; first += size) {
    yield { family: range.family, first, last: first + size - 1n, prefixLength };
  }
}
