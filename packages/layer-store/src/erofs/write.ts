/**
 * Writes a directory tree as an EROFS image: a read-only file system in one file, which the kernel mounts as it is. The
 * same tree gives the same bytes. Nothing is compressed: layers are kept to be mounted.
 */
import * as fs from 'node:fs';
import { statAt } from '../apply/copy-node.ts';
import { DirectoryTree, fsName, type Directory } from '../apply/directory-tree.ts';
import { isUnsupported } from '../apply/metadata.ts';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';
import {
  align,
  BLOCK,
  directoryBytes,
  encodeDirectory,
  encodeInode,
  encodeSuperBlock,
  encodeXattrs,
  INODE_BYTES,
  META_BLOCK,
  SLOT,
} from './format.ts';

const { S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, S_IFSOCK } = fs.constants;

/** What is known of an inode before its content is written. */
interface Inode {
  stat: fs.BigIntStats;
  type: number;
  xattrs: Buffer;
  size: number;
  /** Target of a symbolic link. */
  target: Buffer | undefined;
  /** Of a directory, sorted. */
  children: Map<ByteString, Inode> | undefined;
  parent: Inode;
  names: number;
  /** Bytes of content that lie behind the inode. */
  inline: number;
  nid: number;
  /** First block of what is not inline. */
  block: number;
  /** Whether the content of a file has been written: it may have several names. */
  written: boolean;
}

/** Bytes copied at a time. */
const CHUNK = 1024 * 1024;
const ZEROS = Buffer.alloc(BLOCK);
/** 2^32 blocks: what fits the fields of the super block. */
const MAX_BLOCKS = 2 ** 32 - 1;

/**
 * Writes the tree in `root` to the open, empty file `image`. Names, owners, modes, times, links, devices and attributes
 * come as they are, overlay's own among them; sockets do not.
 *
 * @throws {LayerStoreError} `LIMIT_EXCEEDED` beyond 16 TiB
 */
export function writeErofs(layerFs: LayerFs, root: string, image: number): void {
  using tree = new DirectoryTree(layerFs, root);
  const inodes: Inode[] = [];
  const top = scan(layerFs, tree, inodes);
  const blocks = place(inodes);
  if (blocks > MAX_BLOCKS) {
    throw new LayerStoreError('LIMIT_EXCEEDED', `${root} is too large for one image`);
  }
  // blocks of zeros are left out: the file has holes for them
  fs.ftruncateSync(image, blocks * BLOCK);
  write(image, encodeSuperBlock({ rootNid: top.nid, inodes: inodes.length, blocks }), 0);
  for (const [ino, inode] of inodes.entries()) writeInode(image, inode, ino + 1);
  writeFiles(tree, tree.root, top, image);
}

/** Every inode once, parents before children, in the order of names. */
function scan(layerFs: LayerFs, tree: DirectoryTree, inodes: Inode[]): Inode {
  const byIno = new Map<bigint, Inode>();
  const top = describe(tree.root, '.', undefined);
  enter(tree.root, top);
  return top;

  function describe(directory: Directory, name: ByteString, parent: Inode | undefined): Inode {
    const stat = statAt({ directory, name })!;
    const known = stat.isDirectory() ? undefined : byIno.get(stat.ino);
    if (known !== undefined) {
      known.names += 1;
      return known;
    }
    const type = Number(stat.mode) & S_IFMT;
    const target = stat.isSymbolicLink()
      ? fs.readlinkSync(inDirectory(directory.fd, fsName(name)), { encoding: 'buffer' })
      : undefined;
    const inode: Inode = {
      stat,
      type,
      xattrs: encodeXattrs(allXattrs(layerFs, directory, name)),
      size: target?.length ?? (stat.isFile() ? Number(stat.size) : 0),
      target,
      children: stat.isDirectory() ? new Map() : undefined,
      parent: undefined as unknown as Inode,
      names: 1,
      inline: 0,
      nid: 0,
      block: 0,
      written: false,
    };
    inode.parent = parent ?? inode;
    inodes.push(inode);
    if (!stat.isDirectory() && stat.nlink > 1n) byIno.set(stat.ino, inode);
    return inode;
  }

  function enter(directory: Directory, inode: Inode): void {
    for (const name of tree.names(directory).sort()) {
      const stat = statAt({ directory, name });
      if (stat === undefined || (Number(stat.mode) & S_IFMT) === S_IFSOCK) continue;
      const child = describe(directory, name, inode);
      inode.children!.set(name, child);
      if (child.type !== S_IFDIR) continue;
      const inner = tree.openChild(directory, name);
      try {
        enter(inner, child);
      } finally {
        fs.closeSync(inner.fd);
      }
    }
    inode.size = directoryBytes(['.', '..', ...inode.children!.keys()].sort());
  }
}

/** Gives every inode its place. @returns how many blocks all takes */
function place(inodes: readonly Inode[]): number {
  // number 0 is left to mean none
  let at = META_BLOCK * BLOCK + SLOT;
  for (const inode of inodes) {
    const head = INODE_BYTES + inode.xattrs.length;
    const tail = inode.size % BLOCK;
    // what lies behind an inode must end in the block in which it begins
    inode.inline = head + tail <= BLOCK ? tail : 0;
    const room = BLOCK - (at % BLOCK);
    if (head + inode.inline <= BLOCK ? head + inode.inline > room : room < INODE_BYTES) at = align(at, BLOCK);
    inode.nid = (at - META_BLOCK * BLOCK) / SLOT;
    at = align(at + head + inode.inline, SLOT);
  }
  let block = align(at, BLOCK) / BLOCK;
  for (const inode of inodes) {
    inode.block = block;
    block += Math.ceil((inode.size - inode.inline) / BLOCK);
  }
  return block;
}

/** The inode, and the content of directories and links. */
function writeInode(image: number, inode: Inode, ino: number): void {
  const { stat, type, xattrs, size } = inode;
  const isDevice = type === S_IFCHR || type === S_IFBLK;
  const fields = {
    layout: inode.inline > 0 ? ('inline' as const) : ('plain' as const),
    xattrBytes: xattrs.length,
    mode: Number(stat.mode),
    size,
    // a device number as new_encode_dev makes it, which stat(2) gives for all that fit
    blockOrDevice: isDevice ? Number(stat.rdev) : inode.block,
    ino,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: stat.mtimeNs,
    nlink: inode.children === undefined ? inode.names : 2 + countDirectories(inode.children),
  };
  write(image, Buffer.concat([encodeInode(fields), xattrs]), offsetOf(inode));
  if (inode.target !== undefined) writeContent(image, inode, inode.target);
  if (inode.children === undefined) return;
  const entries = [
    { name: '.', nid: inode.nid, type: S_IFDIR },
    { name: '..', nid: inode.parent.nid, type: S_IFDIR },
    ...[...inode.children].map(([name, child]) => ({ name, nid: child.nid, type: child.type })),
  ];
  const sorted = entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  writeContent(image, inode, encodeDirectory(sorted));
}

function countDirectories(children: ReadonlyMap<ByteString, Inode>): number {
  let count = 0;
  for (const { type } of children.values()) if (type === S_IFDIR) count += 1;
  return count;
}

/** Copies the content of every file, once. */
function writeFiles(tree: DirectoryTree, directory: Directory, inode: Inode, image: number): void {
  for (const [name, child] of inode.children!) {
    if (child.type === S_IFDIR) {
      const inner = tree.openChild(directory, name);
      try {
        writeFiles(tree, inner, child, image);
      } finally {
        fs.closeSync(inner.fd);
      }
    } else if (child.type === S_IFREG && !child.written) {
      child.written = true;
      copyFile(inDirectory(directory.fd, fsName(name)), child, image);
    }
  }
}

function copyFile(path: string | Buffer, inode: Inode, image: number): void {
  if (inode.size === 0) return;
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, inode.size));
    for (let at = 0; at < inode.size;) {
      const length = fs.readSync(fd, buffer, 0, Math.min(buffer.length, inode.size - at), at);
      if (length === 0) {
        throw new LayerStoreError('IO_ERROR', 'a file of a layer became shorter while it was copied');
      }
      writePart(image, inode, buffer.subarray(0, length), at);
      at += length;
    }
  } finally {
    fs.closeSync(fd);
  }
}

function writeContent(image: number, inode: Inode, content: Buffer): void {
  if (content.length > 0) writePart(image, inode, content, 0);
}

/** Writes a piece of an inode's content: to its blocks, and what is inline behind the inode. */
function writePart(image: number, inode: Inode, bytes: Buffer, at: number): void {
  const inBlocks = inode.size - inode.inline;
  const first = Math.max(0, Math.min(bytes.length, inBlocks - at));
  for (let done = 0; done < first;) {
    // zeros only where they are whole blocks
    const end = Math.min(first, done + BLOCK);
    const piece = bytes.subarray(done, end);
    let next = end;
    if (piece.equals(ZEROS)) {
      done = next;
      continue;
    }
    while (next < first && !bytes.subarray(next, Math.min(first, next + BLOCK)).equals(ZEROS)) {
      next = Math.min(first, next + BLOCK);
    }
    write(image, bytes.subarray(done, next), inode.block * BLOCK + at + done);
    done = next;
  }
  if (first < bytes.length) {
    const behind = offsetOf(inode) + INODE_BYTES + inode.xattrs.length;
    write(image, bytes.subarray(first), behind + Math.max(0, at - inBlocks));
  }
}

function offsetOf({ nid }: Inode): number {
  return META_BLOCK * BLOCK + nid * SLOT;
}

function write(fd: number, bytes: Uint8Array, position: number): void {
  let at = 0;
  while (at < bytes.length) at += fs.writeSync(fd, bytes, at, bytes.length - at, position + at);
}

/** With the marks of overlay: the image is a layer. */
function allXattrs(layerFs: LayerFs, directory: Directory, name: ByteString): Map<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>();
  try {
    for (const attribute of layerFs.listxattrat(directory.fd, fsName(name))) {
      const value = layerFs.getxattrat(directory.fd, fsName(name), attribute);
      if (value !== undefined) xattrs.set(attribute, value);
    }
  } catch (error) {
    if (!isUnsupported(error)) throw error;
  }
  return xattrs;
}
