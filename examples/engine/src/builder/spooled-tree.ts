/**
 * A tree of files in memory, their content in a {@link Spool}: what a client sent, with nothing made on disk for it. Paths
 * are resolved as if the tree were `/`: no link leads out of it.
 */
import { constants } from 'node:fs';
import { posix } from 'node:path';
import type { ByteString, TarEntry } from '@tare/layer-store';

import type { FileBytes, FileMember, FileStat, FileTree } from '../containers/trees.ts';

/** A file, directory or link. Several names that have one are hard links. */
export interface TreeNode {
  /** Without its name. */
  entry: Omit<TarEntry, 'name'>;
  /** Of a regular file. */
  content?: FileBytes;
  /** It was read when its last change was long enough ago: with the same time and size, it is the same. */
  settled?: boolean;
  /** Of a directory, by name. */
  children?: Map<ByteString, TreeNode>;
}

/** The kernel's own limit on links in one lookup. */
const MAX_LINKS = 40;
/** Pieces of a file that is read. */
const PIECE_BYTES = 256 * 1024;

const TYPE_BITS: Partial<Record<TarEntry['type'], number>> = {
  file: constants.S_IFREG,
  directory: constants.S_IFDIR,
  symlink: constants.S_IFLNK,
  'character-device': constants.S_IFCHR,
  'block-device': constants.S_IFBLK,
  fifo: constants.S_IFIFO,
};

/** A directory with nothing in it. */
export function newDirectory(
  mode: number,
  mtimeNs: bigint,
): TreeNode & { children: Map<ByteString, TreeNode> } {
  return {
    entry: {
      type: 'directory',
      mode,
      uid: 0,
      gid: 0,
      size: 0,
      mtimeNs,
      atimeNs: undefined,
      linkName: '',
      devMajor: 0,
      devMinor: 0,
      xattrs: new Map(),
    },
    children: new Map(),
  };
}

/** The tree below one directory. */
export class SpooledTree implements FileTree {
  readonly root: TreeNode;
  /** Digest of the listing that it was received with, when the same listing means the same files. */
  readonly listing: string | undefined;

  constructor(root: TreeNode, listing?: string) {
    this.root = root;
    this.listing = listing;
  }

  stat(path: string): FileStat {
    const node = this.find(path, false);
    const { type, mode, size, mtimeNs, linkName } = node.entry;
    return {
      mode: (TYPE_BITS[type] ?? 0) | mode,
      size,
      mtimeNs,
      ...(type === 'symlink' ? { linkName: toText(linkName) } : {}),
    };
  }

  names(path: string): string[] {
    const { children } = this.find(path, true);
    if (children === undefined) throw failure('ENOTDIR', path);
    return [...children.keys()].map(toText);
  }

  read(path: string, bytes: number): Buffer {
    const { content, size } = this.#file(path);
    const buffer = Buffer.alloc(Math.min(bytes, size));
    content.read(buffer, 0, buffer.length, 0);
    return buffer;
  }

  async *stream(path: string): AsyncGenerator<Uint8Array, void, undefined> {
    const { content, size } = this.#file(path);
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, size - at));
      content.read(buffer, 0, buffer.length, at);
      yield buffer;
    }
  }

  *members(path: string): Generator<FileMember, void, undefined> {
    const node = this.find(path, false);
    if (node.children === undefined) yield memberOf(node, '');
    else yield* below(node.children, '');
  }

  /**
   * What is at `path`; a directory, when that ends with a slash or dot.
   *
   * @param followFinal - also a final symbolic link
   * @throws errno errors
   */
  find(path: string, followFinal: boolean): TreeNode {
    const asDirectory = /(?:^|\/)\.?$/.test(path);
    const node = this.#walk(path, followFinal || asDirectory);
    if (asDirectory && node.children === undefined) throw failure('ENOTDIR', path);
    return node;
  }

  #walk(path: string, follow: boolean): TreeNode {
    const stack: TreeNode[] = [];
    const queue = toBytes(path).split('/');
    let links = 0;
    while (queue.length > 0) {
      const name = queue.shift()!;
      if (name === '' || name === '.') continue;
      const { children } = stack.at(-1) ?? this.root;
      if (children === undefined) throw failure('ENOTDIR', path);
      if (name === '..') {
        stack.pop();
        continue;
      }
      const node = children.get(name);
      if (node === undefined) throw failure('ENOENT', path);
      if (node.entry.type === 'symlink' && (follow || queue.some((rest) => rest !== '' && rest !== '.'))) {
        links += 1;
        if (links > MAX_LINKS) throw failure('ELOOP', path);
        if (node.entry.linkName.startsWith('/')) stack.length = 0;
        queue.unshift(...node.entry.linkName.split('/'));
      } else stack.push(node);
    }
    return stack.at(-1) ?? this.root;
  }

  /** What is at a clean path without links in it. */
  at(path: string): TreeNode | undefined {
    let node: TreeNode | undefined = this.root;
    for (const name of toBytes(path).split('/')) node = node?.children?.get(name);
    return node;
  }

  #file(path: string): { content: FileBytes; size: number } {
    const { content, entry } = this.find(path, true);
    if (content === undefined) throw failure('EINVAL', path);
    return { content, size: entry.size };
  }
}

function* below(
  children: ReadonlyMap<ByteString, TreeNode>,
  prefix: ByteString,
): Generator<FileMember, void, undefined> {
  for (const name of [...children.keys()].sort()) {
    const node = children.get(name)!;
    const path = prefix + name;
    yield memberOf(node, path);
    if (node.children !== undefined) yield* below(node.children, `${path}/`);
  }
}

function memberOf(node: TreeNode, name: ByteString): FileMember {
  const member = { entry: { ...node.entry, name }, inode: node };
  return node.content === undefined ? member : { ...member, content: node.content };
}

function failure(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${posix.join('/', path)} in the build context`), { code, path });
}

function toText(name: ByteString): string {
  return !/[^\0-\x7f]/.test(name) ? name : Buffer.from(name, 'latin1').toString('utf8');
}

/** A name as archives have it: one character per byte. */
function toBytes(name: string): ByteString {
  return !/[^\0-\x7f]/.test(name) ? name : Buffer.from(name, 'utf8').toString('latin1');
}
