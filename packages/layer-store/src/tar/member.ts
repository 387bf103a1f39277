/** One archive member from its header block and the extended headers before it. */
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString, type TarEntry, type TarEntryType } from './entry.ts';
import type { RawHeader } from './header.ts';
import { parsePaxNumber, parsePaxTime, type PaxRecord } from './pax.ts';
import type { PaxSparse } from './sparse.ts';

const TYPES: Readonly<Record<string, TarEntryType>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
};

/** Extended headers collected for the member that follows them. */
export interface Extensions {
  pax: PaxRecord[] | undefined;
  longName: ByteString | undefined;
  longLink: ByteString | undefined;
}

/** Greatest uid and gid: the next one, -1 to chown(2), means "leave it". */
const MAX_ID = 0xffff_fffe;

/**
 * The member that a header and its extensions describe; `size` is left at 0.
 *
 * @throws {LayerStoreError} `INVALID_TAR` for types that layers do not have, and for two names that differ
 */
export function toEntry(
  raw: RawHeader,
  extensions: Extensions,
  pax: ReadonlyMap<string, Buffer> | undefined,
  sparse: PaxSparse | undefined,
): TarEntry {
  const name = oneOf('path', sparse?.name ?? pax?.get('path'), extensions.longName, raw.name);
  let type = TYPES[raw.typeFlag];
  if (type === undefined) {
    throw new LayerStoreError(
      'INVALID_TAR',
      `${printable(name)} has the member type ${JSON.stringify(raw.typeFlag)}, which layers do not have`,
      { entry: name },
    );
  }
  // before directories had a type of their own they were files with a slash
  if (raw.typeFlag === '\0' && name.endsWith('/')) type = 'directory';
  const isLink = type === 'symlink' || type === 'hardlink';
  const isDevice = type === 'character-device' || type === 'block-device';
  const mtime = text(pax, 'mtime');
  const atime = text(pax, 'atime');
  return {
    name,
    type,
    mode: raw.mode,
    uid: id(pax, 'uid', raw.uid),
    gid: id(pax, 'gid', raw.gid),
    size: 0,
    mtimeNs: mtime === undefined ? secondsToNs(raw.mtimeSeconds) : parsePaxTime(mtime, 'mtime'),
    atimeNs: atime === undefined ? undefined : parsePaxTime(atime, 'atime'),
    linkName: isLink ? oneOf('linkpath', pax?.get('linkpath'), extensions.longLink, raw.linkName) : '',
    devMajor: isDevice ? raw.devMajor : 0,
    devMinor: isDevice ? raw.devMinor : 0,
    xattrs: pax === undefined ? NO_XATTRS : xattrs(pax),
  };
}

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const XATTR_PREFIX = 'SCHILY.xattr.';

function xattrs(pax: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR_PREFIX)) found.set(key.slice(XATTR_PREFIX.length), value);
  }
  return found;
}

/** The name that holds: PAX before GNU before the header. An empty PAX value stands for none. */
function oneOf(
  key: string,
  pax: Buffer | undefined,
  long: ByteString | undefined,
  header: ByteString,
): ByteString {
  const extended = pax === undefined || pax.length === 0 ? undefined : pax.toString('latin1');
  if (extended?.includes('\0')) {
    throw new LayerStoreError('INVALID_TAR', `PAX ${key} with a NUL inside: ${printable(extended)}`);
  }
  if (extended !== undefined && long !== undefined && extended !== long) {
    throw new LayerStoreError(
      'INVALID_TAR',
      `a member with two names: PAX ${key} ${printable(extended)}, GNU ${printable(long)}`,
    );
  }
  return extended ?? long ?? header;
}

function text(pax: ReadonlyMap<string, Buffer> | undefined, key: string): string | undefined {
  const value = pax?.get(key);
  return value === undefined || value.length === 0 ? undefined : value.toString('latin1');
}

/** A PAX value as a number. @throws {LayerStoreError} `INVALID_TAR` */
export function paxNumber(value: Buffer, key: string): number {
  return parsePaxNumber(value.toString('latin1'), key);
}

function id(pax: ReadonlyMap<string, Buffer> | undefined, key: 'uid' | 'gid', header: number): number {
  const extended = text(pax, key);
  const value = extended === undefined ? header : parsePaxNumber(extended, key);
  if (value > MAX_ID) throw new LayerStoreError('INVALID_TAR', `${key} ${value} is out of range`);
  return value;
}

function secondsToNs(seconds: number): bigint {
  const ns = BigInt(seconds) * 1_000_000_000n;
  if (BigInt.asIntN(64, ns) !== ns) {
    throw new LayerStoreError('INVALID_TAR', `mtime ${seconds} is out of range`);
  }
  return ns;
}
