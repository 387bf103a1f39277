/**
 * Writes tar headers: ustar where the values fit, a PAX header before it where they do not. The same entry always
 * gives the same bytes: no times, pids or names of this machine get in.
 */
import { LayerStoreError } from '../errors.ts';
import { byteString, printable, type ByteString, type TarEntry, type TarEntryType } from './entry.ts';
import { BLOCK } from './header.ts';
import { encodePaxRecord, formatPaxTime } from './pax.ts';

const TYPE_FLAGS: Readonly<Record<TarEntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
};

/** Greatest values of 7 and 11 octal digits. */
const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;

/** The two zero blocks that end an archive. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

const ZEROS = Buffer.alloc(BLOCK);

/** The zeros that follow `size` bytes of content. Not to be written to. */
export function tarPadding(size: number): Uint8Array {
  return ZEROS.subarray(0, paddingOf(size));
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/**
 * The header blocks of one member; `entry.size` bytes of content and {@link tarPadding} follow, for files only.
 *
 * @throws {LayerStoreError} `INVALID_ARGUMENT` for a name with a NUL inside, or an attribute's with a `=`
 */
export function encodeTarHeader(entry: TarEntry): Buffer {
  for (const name of [entry.name, entry.linkName]) {
    if (name.includes('\0')) {
      throw new LayerStoreError('INVALID_ARGUMENT', `a file name cannot hold a NUL: ${printable(name)}`);
    }
  }
  let extended: ByteString = '';
  const extend = (key: string, value: ByteString): void => {
    extended += encodePaxRecord(key, value);
  };
  const split = splitName(entry.name);
  if (split === undefined) extend('path', entry.name);
  if (!fits(entry.linkName, 100)) extend('linkpath', entry.linkName);
  const size = entry.type === 'file' ? entry.size : 0;
  if (size > MAX_OCTAL_11) extend('size', String(size));
  if (entry.uid > MAX_OCTAL_7) extend('uid', String(entry.uid));
  if (entry.gid > MAX_OCTAL_7) extend('gid', String(entry.gid));
  const seconds = entry.mtimeNs / 1_000_000_000n;
  const mtimeFits = entry.mtimeNs >= 0n && seconds <= BigInt(MAX_OCTAL_11);
  if (!mtimeFits || entry.mtimeNs % 1_000_000_000n !== 0n) extend('mtime', formatPaxTime(entry.mtimeNs));
  if (entry.atimeNs !== undefined) extend('atime', formatPaxTime(entry.atimeNs));
  if (entry.xattrs.size > 0) extendXattrs(entry, extend);
  const at = extended === '' ? 0 : BLOCK + extended.length + paddingOf(extended.length);
  const header = Buffer.allocUnsafe(at + BLOCK).fill(0);
  writeBlock(header, at, {
    name: split?.name ?? entry.name.slice(-100),
    prefix: split?.prefix ?? '',
    typeFlag: TYPE_FLAGS[entry.type],
    mode: entry.mode,
    uid: Math.min(entry.uid, MAX_OCTAL_7),
    gid: Math.min(entry.gid, MAX_OCTAL_7),
    size: Math.min(size, MAX_OCTAL_11),
    mtime: mtimeFits ? Number(seconds) : 0,
    linkName: entry.linkName.slice(0, 100),
    devMajor: entry.devMajor,
    devMinor: entry.devMinor,
  });
  if (extended === '') return header;
  writeBlock(header, 0, {
    name: 'PaxHeaders.0',
    prefix: '',
    typeFlag: 'x',
    mode: 0,
    uid: 0,
    gid: 0,
    size: extended.length,
    mtime: 0,
    linkName: '',
    devMajor: 0,
    devMinor: 0,
  });
  header.write(extended, BLOCK, 'latin1');
  return header;
}

function extendXattrs(entry: TarEntry, extend: (key: ByteString, value: ByteString) => void): void {
  for (const [name, value] of [...entry.xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (/[=\0]/.test(name)) {
      throw new LayerStoreError(
        'INVALID_ARGUMENT',
        `the attribute ${JSON.stringify(name)} of ${printable(entry.name)} cannot be in an archive: its name ends at the =`,
      );
    }
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    extend(`SCHILY.xattr.${byteString(name)}`, bytes.toString('latin1'));
  }
}

interface Fields {
  name: ByteString;
  prefix: ByteString;
  typeFlag: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  linkName: ByteString;
  devMajor: number;
  devMinor: number;
}

const MAGIC_AND_VERSION = 'ustar\x0000';

/** Writes a header block into zeros. There are thousands in a layer, so what goes into it is summed up on the way. */
function writeBlock(buffer: Buffer, at: number, fields: Fields): void {
  // the checksum counts its own field as blanks
  let sum = 8 * 0x20;
  sum += text(buffer, fields.name, at);
  sum += octal(buffer, fields.mode, at + 100, 8);
  sum += octal(buffer, fields.uid, at + 108, 8);
  sum += octal(buffer, fields.gid, at + 116, 8);
  sum += octal(buffer, fields.size, at + 124, 12);
  sum += octal(buffer, fields.mtime, at + 136, 12);
  sum += text(buffer, fields.typeFlag, at + 156);
  sum += text(buffer, fields.linkName, at + 157);
  sum += text(buffer, MAGIC_AND_VERSION, at + 257);
  sum += octal(buffer, fields.devMajor, at + 329, 8);
  sum += octal(buffer, fields.devMinor, at + 337, 8);
  sum += text(buffer, fields.prefix, at + 345);
  octal(buffer, sum, at + 148, 7);
  buffer[at + 155] = 0x20;
}

/** Bytes that fit their field. @returns their sum */
function text(buffer: Buffer, bytes: ByteString, offset: number): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += buffer[offset + i] = bytes.charCodeAt(i) & 0xff;
  return sum;
}

/** Digits and a NUL, written one by one: there are eight such fields in every header. @returns their sum */
function octal(buffer: Buffer, value: number, offset: number, length: number): number {
  let rest = value;
  let sum = 0;
  for (let at = offset + length - 2; at >= offset; at--) {
    sum += buffer[at] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
  if (rest !== 0) {
    throw new LayerStoreError('INVALID_ARGUMENT', `${value} does not fit a tar header field`);
  }
  return sum;
}

/** Only ASCII goes into plain fields: what other bytes mean there depends on the reader. */
function fits(name: ByteString, length: number): boolean {
  return name.length <= length && !/[^\x20-\x7e]/.test(name);
}

/** Name and prefix of a ustar header, or undefined when the name needs PAX. */
function splitName(name: ByteString): { name: ByteString; prefix: ByteString } | undefined {
  if (fits(name, 100)) return { name, prefix: '' };
  if (!fits(name, 256)) return undefined;
  // the slash of a directory's end must stay in the name
  const slash = name.indexOf('/', name.length - 101);
  if (slash <= 0 || slash > 155 || slash === name.length - 1) return undefined;
  return { name: name.slice(slash + 1), prefix: name.slice(0, slash) };
}

/** An entry of `type` named `name` (text, stored as UTF-8) with usual values for all the rest. */
export function tarEntry(type: TarEntryType, name: string, fields: Partial<TarEntry> = {}): TarEntry {
  return {
    name: byteString(name),
    type,
    mode: type === 'directory' ? 0o755 : type === 'symlink' ? 0o777 : 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtimeNs: 0n,
    atimeNs: undefined,
    linkName: '',
    devMajor: 0,
    devMinor: 0,
    xattrs: new Map(),
    ...fields,
  };
}
