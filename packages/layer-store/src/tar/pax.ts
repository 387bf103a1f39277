/** PAX extended headers: `length key=value\n` records whose values are kept as raw bytes. */
import { LayerStoreError } from '../errors.ts';
import type { ByteString } from './entry.ts';

/** One record, in archive order. */
export interface PaxRecord {
  key: string;
  value: Buffer;
}

/**
 * Splits the content of an extended header into its records.
 *
 * @throws {LayerStoreError} `INVALID_TAR` when a record's length does not match its bytes
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03
 */
export function decodePax(bytes: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const blank = bytes.indexOf(0x20, offset);
    const digits = blank === -1 ? '' : bytes.toString('latin1', offset, blank);
    const length = /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : 0;
    const end = offset + length;
    const equals = bytes.indexOf(0x3d, blank + 1);
    if (length === 0 || end > bytes.length || equals === -1 || equals >= end || bytes[end - 1] !== 0x0a) {
      throw new LayerStoreError(
        'INVALID_TAR',
        `malformed PAX record at byte ${offset} of an extended header`,
      );
    }
    records.push({
      key: bytes.toString('utf8', blank + 1, equals),
      value: bytes.subarray(equals + 1, end - 1),
    });
    offset = end;
  }
  return records;
}

/** One record with its self-referential length. Key and value are bytes. */
export function encodePaxRecord(key: ByteString, value: ByteString): ByteString {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

/**
 * Decimal seconds with an optional fraction as nanoseconds; digits after the ninth are cut off.
 *
 * @throws {LayerStoreError} `INVALID_TAR`
 */
export function parsePaxTime(text: string, key: string): bigint {
  const match = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw new LayerStoreError('INVALID_TAR', `invalid PAX ${key}: ${JSON.stringify(text)}`);
  const ns = BigInt(match[2]!) * 1_000_000_000n + BigInt((match[3] ?? '').padEnd(9, '0').slice(0, 9));
  const signed = match[1] === '-' ? -ns : ns;
  // what utimensat takes: 64-bit nanoseconds, years 1677 to 2262
  if (BigInt.asIntN(64, signed) !== signed) {
    throw new LayerStoreError('INVALID_TAR', `PAX ${key} out of range: ${JSON.stringify(text)}`);
  }
  return signed;
}

/** Nanoseconds as decimal seconds without needless digits. */
export function formatPaxTime(ns: bigint): string {
  const absolute = ns < 0n ? -ns : ns;
  const fraction = String(absolute % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${absolute / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`;
}

/** Decimal digits as a safe integer. @throws {LayerStoreError} `INVALID_TAR` */
export function parsePaxNumber(text: string, key: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw new LayerStoreError('INVALID_TAR', `invalid PAX ${key}: ${JSON.stringify(text.slice(0, 100))}`);
  }
  return value;
}
