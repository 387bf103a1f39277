/** An archive becomes a tree in memory, what its files hold goes to a {@link Spool}: as if it were unpacked for root. */
import {
  isLayerXattr,
  LayerStoreError,
  parseEntryPath,
  readArchive,
  type ByteString,
  type TarEntry,
  type TarSink,
} from '@tare/layer-store';

import { withoutForeign } from '../foreign-compression.ts';
import { nowNs } from '../time.ts';
import type { Spool, SpoolWriter } from './spool.ts';
import { newDirectory, type TreeNode } from './spooled-tree.ts';

/** As many symbolic links in one path as Linux follows. */
const MAX_LINKS = 40;
/** As `applyLayer` of `@tare/layer-store` has them. */
const MAX_ENTRIES = 2_000_000;
const MAX_BYTES = 64 * 1024 ** 3;
/**
 * Reads `archive` (plain, gzip, zstd, xz or bzip2).
 *
 * @returns its root directory
 * @throws {LayerStoreError} `INVALID_TAR`, `UNSAFE_ENTRY`, `LIMIT_EXCEEDED`; `IO_ERROR` when it cannot be written
 */
export async function spoolArchive(
  archive: AsyncIterable<Uint8Array>,
  spool: Spool,
  signal: AbortSignal,
): Promise<TreeNode> {
  const sink = new SpoolSink(spool);
  await readArchive(withoutForeign(archive), sink, { signal });
  return sink.root;
}

type DirectoryNode = ReturnType<typeof newDirectory>;

class SpoolSink implements TarSink {
  readonly root: DirectoryNode = newDirectory(0o755, nowNs());
  readonly #spool: Spool;
  #entries = 0;
  #bytes = 0;
  #file: { node: TreeNode; writer: SpoolWriter } | undefined;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  entry(entry: TarEntry): void {
    this.#entries += 1;
    this.#bytes += entry.size;
    if (this.#entries > MAX_ENTRIES || this.#bytes > MAX_BYTES) {
      throw new LayerStoreError(
        'LIMIT_EXCEEDED',
        `more than ${MAX_ENTRIES} members, or ${MAX_BYTES} bytes, in a build context`,
      );
    }
    const components = parseEntryPath(entry.name);
    const name = components.pop();
    if (name === undefined) {
      if (entry.type === 'directory') return;
      throw new LayerStoreError(
        'UNSAFE_ENTRY',
        `${show(entry.name)} would replace the root by a ${entry.type}`,
      );
    }
    const { children } = this.#directory(components);
    if (entry.type === 'hardlink') {
      this.#link(children, name, entry);
      return;
    }
    const { name: _name, ...rest } = entry;
    const xattrs = entry.xattrs.size === 0 ? entry.xattrs : allowed(entry.xattrs);
    // links have no mode of their own
    const mode = entry.type === 'symlink' ? 0o777 : entry.mode;
    const node: TreeNode = { entry: { ...rest, mode, uid: 0, gid: 0, atimeNs: undefined, xattrs } };
    if (entry.type === 'directory') node.children = children.get(name)?.children ?? new Map();
    if (entry.type === 'file') this.#file = { node, writer: this.#spool.create() };
    children.set(name, node);
  }

  data(bytes: Uint8Array, position: number): void {
    const { writer } = this.#file!;
    try {
      writer.extendTo(position);
      writer.append(bytes);
    } catch (error) {
      throw new LayerStoreError('IO_ERROR', `cannot keep the build context: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  entryEnd(): void {
    if (this.#file === undefined) return;
    const { node, writer } = this.#file;
    writer.extendTo(node.entry.size);
    node.content = writer.end();
    this.#file = undefined;
  }

  #link(children: Map<ByteString, TreeNode>, name: ByteString, { name: path, linkName }: TarEntry): void {
    const components = parseEntryPath(linkName);
    const targetName = components.pop();
    const target = targetName === undefined ? undefined : this.#find(components)?.children.get(targetName);
    if (target === undefined || target.children !== undefined) {
      throw invalid(`${show(path)} is a hard link to ${show(linkName)}, which is no file of this archive`);
    }
    children.set(name, target);
  }

  #find(components: readonly ByteString[]): DirectoryNode | undefined {
    try {
      return this.#directory(components, false);
    } catch (error) {
      if (error instanceof LayerStoreError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  /** The directory at a path, symbolic links followed inside of the tree; made when it is not there. */
  #directory(components: readonly ByteString[], create = true): DirectoryNode {
    const stack: DirectoryNode[] = [];
    const queue = [...components];
    let links = 0;
    while (queue.length > 0) {
      const name = queue.shift()!;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        stack.pop();
        continue;
      }
      const { children } = stack.at(-1) ?? this.root;
      const node = children.get(name);
      if (node === undefined) {
        if (!create) throw new LayerStoreError('NOT_FOUND', `${show(components.join('/'))} is not there`);
        const made = newDirectory(0o755, nowNs());
        children.set(name, made);
        stack.push(made);
      } else if (isDirectory(node)) stack.push(node);
      else if (node.entry.type === 'symlink') {
        links += 1;
        if (links > MAX_LINKS)
          throw invalid(`too many symbolic links on the way to ${show(components.join('/'))}`);
        if (node.entry.linkName.startsWith('/')) stack.length = 0;
        queue.unshift(...node.entry.linkName.split('/'));
      } else {
        throw invalid(`${show(components.join('/'))}: ${show(name)} is not a directory`);
      }
    }
    return stack.at(-1) ?? this.root;
  }
}

function isDirectory(node: TreeNode): node is DirectoryNode {
  return node.children !== undefined;
}

function allowed(xattrs: TarEntry['xattrs']): TarEntry['xattrs'] {
  return new Map([...xattrs].filter(([name]) => isLayerXattr(name)));
}

function show(name: ByteString): string {
  return JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
}

function invalid(message: string): LayerStoreError {
  return new LayerStoreError('INVALID_TAR', message);
}
