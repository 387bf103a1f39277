/** The 512-byte tar header block: fields, checksum, and the two number formats. */
import { LayerStoreError } from '../errors.ts';
import type { ByteString } from './entry.ts';

/** Archives are made of blocks of this many bytes. */
export const BLOCK = 512;

/** The fields of a header block that every format has. */
export interface RawHeader {
  name: ByteString;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtimeSeconds: number;
  /** One character; `'\0'` means a file, as in the seventh edition. */
  typeFlag: string;
  linkName: ByteString;
  devMajor: number;
  devMinor: number;
}

/**
 * Decodes the block at `offset`.
 *
 * @throws {LayerStoreError} `INVALID_TAR` for a wrong checksum or a number that is none
 */
export function decodeHeader(buffer: Buffer, offset: number): RawHeader {
  verifyChecksum(buffer, offset);
  const magic = buffer.toString('latin1', offset + 257, offset + 265);
  const posix = magic.startsWith('ustar\0');
  const gnu = magic === 'ustar  \0';
  const name = text(buffer, offset, 100);
  // GNU keeps access times and the sparse map where POSIX keeps the prefix; star's prefix is 24 bytes shorter
  const star = posix && buffer.toString('latin1', offset + 508, offset + 512) === 'tar\0';
  const prefix = posix ? text(buffer, offset + 345, star ? 131 : 155) : '';
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(buffer, offset + 100, 8, 'mode') % 0o10000,
    uid: number(buffer, offset + 108, 8, 'uid'),
    gid: number(buffer, offset + 116, 8, 'gid'),
    size: number(buffer, offset + 124, 12, 'size'),
    mtimeSeconds: signedNumber(buffer, offset + 136, 12, 'mtime'),
    typeFlag: String.fromCharCode(buffer[offset + 156]!),
    linkName: text(buffer, offset + 157, 100),
    devMajor: posix || gnu ? number(buffer, offset + 329, 8, 'devmajor') : 0,
    devMinor: posix || gnu ? number(buffer, offset + 337, 8, 'devminor') : 0,
  };
}

/** Whether the block at `offset` is all zeros: half of the end mark. */
export function isZeroBlock(buffer: Buffer, offset: number): boolean {
  for (let i = offset; i < offset + BLOCK; i++) if (buffer[i] !== 0) return false;
  return true;
}

/** The bytes of a field up to its first NUL. */
function text(buffer: Buffer, offset: number, length: number): ByteString {
  let end = offset;
  while (end < offset + length && buffer[end] !== 0) end++;
  return buffer.toString('latin1', offset, end);
}

/** A field that cannot be negative. @throws {LayerStoreError} `INVALID_TAR` */
export function number(buffer: Buffer, offset: number, length: number, field: string): number {
  const value = signedNumber(buffer, offset, length, field);
  if (value < 0) throw invalidNumber(buffer, offset, length, field);
  return value;
}

/** Octal digits between blanks and NULs, or base-256 when the first bit is set (two's complement, a GNU extension). */
function signedNumber(buffer: Buffer, offset: number, length: number, field: string): number {
  const first = buffer[offset]!;
  if (first >= 0x80) return base256(buffer, offset, length, field);
  let i = offset;
  const end = offset + length;
  while (i < end && (buffer[i] === 0x20 || buffer[i] === 0)) i++;
  let value = 0;
  while (i < end && buffer[i]! >= 0x30 && buffer[i]! <= 0x37) {
    value = value * 8 + buffer[i]! - 0x30;
    i++;
  }
  while (i < end && (buffer[i] === 0x20 || buffer[i] === 0)) i++;
  if (i !== end) throw invalidNumber(buffer, offset, length, field);
  return value;
}

function base256(buffer: Buffer, offset: number, length: number, field: string): number {
  const negative = buffer[offset] === 0xff;
  if (!negative && buffer[offset] !== 0x80) throw invalidNumber(buffer, offset, length, field);
  let value = 0n;
  for (let i = offset + 1; i < offset + length; i++) value = value * 256n + BigInt(buffer[i]!);
  if (negative) value -= 1n << BigInt(8 * (length - 1));
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
    throw invalidNumber(buffer, offset, length, field);
  }
  return Number(value);
}

function invalidNumber(buffer: Buffer, offset: number, length: number, field: string): LayerStoreError {
  const bytes = buffer.subarray(offset, offset + length).toString('hex');
  return new LayerStoreError('INVALID_TAR', `invalid ${field} in a tar header: bytes ${bytes}`);
}

function verifyChecksum(buffer: Buffer, offset: number): void {
  const stored = number(buffer, offset + 148, 8, 'checksum');
  let unsigned = 8 * 0x20;
  for (let i = offset; i < offset + BLOCK; i++) unsigned += buffer[i]!;
  for (let i = offset + 148; i < offset + 156; i++) unsigned -= buffer[i]!;
  if (unsigned === stored) return;
  // some old writers summed signed characters
  let high = 0;
  for (let i = offset; i < offset + BLOCK; i++) {
    if (buffer[i]! >= 0x80 && (i < offset + 148 || i >= offset + 156)) high++;
  }
  if (unsigned - 256 * high !== stored) {
    throw new LayerStoreError(
      'INVALID_TAR',
      `tar header with a wrong checksum: expected ${unsigned}, got ${stored}`,
    );
  }
}
