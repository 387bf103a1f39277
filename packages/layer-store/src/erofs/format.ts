/**
 * The on-disk structures of EROFS, as far as an uncompressed image needs them.
 *
 * @see https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html
 */
import type { ByteString } from '../tar/entry.ts';

/** Everything lies in blocks of this size. */
export const BLOCK = 4096;
/** Inodes begin at multiples of this; an inode's number is its place in these. */
export const SLOT = 32;
/** Size of the inode form that has nanoseconds and 32-bit ids. */
export const INODE_BYTES = 64;
/** The inodes begin in this block; the super block has the one before. */
export const META_BLOCK = 1;

const SUPER_OFFSET = 1024;
const MAGIC = 0xe0f5e1e2;
/** The inode form with 64 bytes. */
const EXTENDED = 1;
const DIRENT_BYTES = 12;
const XATTR_HEADER_BYTES = 12;

/** Where the bytes of a file are: in blocks of their own, or the last ones of them behind the inode. */
export type DataLayout = 'plain' | 'inline';
const LAYOUTS = { plain: 0, inline: 2 } as const;

/** The fields of an inode. */
export interface InodeFields {
  layout: DataLayout;
  xattrBytes: number;
  /** With the bits of the type. */
  mode: number;
  size: number;
  /** First block of its data, or the device number as the kernel encodes it. */
  blockOrDevice: number;
  ino: number;
  uid: number;
  gid: number;
  mtimeNs: bigint;
  nlink: number;
}

/** Encodes an inode without its attributes and inline data. */
export function encodeInode(fields: InodeFields): Buffer {
  const inode = Buffer.alloc(INODE_BYTES);
  inode.writeUInt16LE(EXTENDED | (LAYOUTS[fields.layout] << 1), 0);
  inode.writeUInt16LE(fields.xattrBytes === 0 ? 0 : (fields.xattrBytes - XATTR_HEADER_BYTES) / 4 + 1, 2);
  inode.writeUInt16LE(fields.mode, 4);
  inode.writeBigUInt64LE(BigInt(fields.size), 8);
  inode.writeUInt32LE(fields.blockOrDevice, 16);
  inode.writeUInt32LE(fields.ino, 20);
  inode.writeUInt32LE(fields.uid, 24);
  inode.writeUInt32LE(fields.gid, 28);
  const second = 1_000_000_000n;
  const rest = ((fields.mtimeNs % second) + second) % second;
  inode.writeBigInt64LE((fields.mtimeNs - rest) / second, 32);
  inode.writeUInt32LE(Number(rest), 40);
  inode.writeUInt32LE(fields.nlink, 44);
  return inode;
}

/** The super block, in its block. */
export function encodeSuperBlock(options: { rootNid: number; inodes: number; blocks: number }): Buffer {
  const block = Buffer.alloc(BLOCK);
  const at = SUPER_OFFSET;
  block.writeUInt32LE(MAGIC, at);
  block.writeUInt8(Math.log2(BLOCK), at + 12);
  block.writeUInt16LE(options.rootNid, at + 14);
  block.writeBigUInt64LE(BigInt(options.inodes), at + 16);
  block.writeUInt32LE(options.blocks, at + 36);
  block.writeUInt32LE(META_BLOCK, at + 40);
  return block;
}

/** Prefixes that stand as a number; the longer ones first. */
const XATTR_PREFIXES = [
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
] as const;

/** The attributes of an inode, sorted; empty when there are none. Those of other name spaces are left out. */
export function encodeXattrs(xattrs: ReadonlyMap<string, Uint8Array>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const prefix = XATTR_PREFIXES.find(([start]) => name.startsWith(start));
    if (prefix === undefined) continue;
    const rest = Buffer.from(name.slice(prefix[0].length));
    const entry = Buffer.alloc(align(4 + rest.length + value.length, 4));
    entry.writeUInt8(rest.length, 0);
    entry.writeUInt8(prefix[1], 1);
    entry.writeUInt16LE(value.length, 2);
    rest.copy(entry, 4);
    entry.set(value, 4 + rest.length);
    parts.push(entry);
  }
  return parts.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.alloc(XATTR_HEADER_BYTES), ...parts]);
}

/** One name in a directory. */
export interface Dirent {
  name: ByteString;
  nid: number;
  /** S_IFMT bits. */
  type: number;
}

/** The size of a directory with these names, `.` and `..` among them. */
export function directoryBytes(names: readonly ByteString[]): number {
  const blocks = intoBlocks(names);
  const last = blocks.at(-1)!;
  return (blocks.length - 1) * BLOCK + last.reduce((sum, name) => sum + DIRENT_BYTES + name.length, 0);
}

/** The content of a directory, whose entries are sorted by name. */
export function encodeDirectory(entries: readonly Dirent[]): Buffer {
  const names = entries.map(({ name }) => name);
  const content = Buffer.alloc(directoryBytes(names));
  let index = 0;
  for (const [number, block] of intoBlocks(names).entries()) {
    const start = number * BLOCK;
    let nameAt = block.length * DIRENT_BYTES;
    for (const [i, name] of block.entries()) {
      const { nid, type } = entries[index++]!;
      const at = start + i * DIRENT_BYTES;
      content.writeBigUInt64LE(BigInt(nid), at);
      content.writeUInt16LE(nameAt, at + 8);
      content.writeUInt8(FILE_TYPES.get(type) ?? 0, at + 10);
      content.write(name, start + nameAt, 'latin1');
      nameAt += name.length;
    }
  }
  return content;
}

/** By S_IFMT, as in `linux/fs_types.h`. */
const FILE_TYPES = new Map([
  [0o100000, 1],
  [0o040000, 2],
  [0o020000, 3],
  [0o060000, 4],
  [0o010000, 5],
  [0o140000, 6],
  [0o120000, 7],
]);

function intoBlocks(names: readonly ByteString[]): ByteString[][] {
  const blocks: ByteString[][] = [[]];
  let used = 0;
  for (const name of names) {
    if (used + DIRENT_BYTES + name.length > BLOCK) {
      blocks.push([]);
      used = 0;
    }
    blocks.at(-1)!.push(name);
    used += DIRENT_BYTES + name.length;
  }
  return blocks;
}

/** The next multiple of `to`. */
export function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
