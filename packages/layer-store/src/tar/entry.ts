/** What the reader gives and the writer takes: one archive member, its names and extended attributes as raw bytes. */

import type { StatsBase } from 'node:fs';

/**
 * Bytes as a string of one character per byte (`latin1`).
 *
 * File names are bytes, not text: two names that differ only in invalid UTF-8 must stay different. This form keeps
 * them exact, and still splits, compares and serves as a Map key.
 */
export type ByteString = string;

/** The kinds of member that a layer may hold. */
export type TarEntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'character-device'
  | 'block-device'
  | 'fifo';

/** One archive member without its content. */
export interface TarEntry {
  /** As in the archive: not cleaned, perhaps absolute or with a slash at its end. */
  name: ByteString;
  type: TarEntryType;
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content, holes included. 0 for everything but files. */
  size: number;
  /** Nanoseconds since the epoch. */
  mtimeNs: bigint;
  /** Nanoseconds since the epoch; undefined when the archive does not say. */
  atimeNs: bigint | undefined;
  /** Target of a symbolic or hard link, otherwise empty. */
  linkName: ByteString;
  /** Of devices, otherwise 0. */
  devMajor: number;
  /** Of devices, otherwise 0. */
  devMinor: number;
  /** Extended attributes by full name (`security.capability`), values byte-exact. */
  xattrs: ReadonlyMap<string, Uint8Array>;
}

/** The type of a file; undefined for sockets, which no archive holds. */
export function tarTypeOf(stat: StatsBase<number> | StatsBase<bigint>): TarEntryType | undefined {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'character-device';
  if (stat.isBlockDevice()) return 'block-device';
  return stat.isFIFO() ? 'fifo' : undefined;
}

/** The bytes behind a {@link ByteString}. */
export function toBytes(text: ByteString): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A {@link ByteString} of the UTF-8 form of `text`. */
export function byteString(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** `text` for messages: as UTF-8, control characters escaped, cut at 200 characters. */
export function printable(text: ByteString): string {
  const decoded = toBytes(text).toString('utf8');
  return JSON.stringify(decoded.length > 200 ? `${decoded.slice(0, 200)}…` : decoded);
}
