/**
 * Fits a layer that was unpacked alone onto the layers below it.
 *
 * An archive may write `lib/x` without listing `lib`. Alone, such a parent is guessed as a directory of mode 0755; but
 * if the layers below have `tmp` with mode 1777, the guess would change it, and if they have `lib -> usr/lib`, the
 * guess would hide the link and everything behind it. So once the layers below are known, a guessed directory takes
 * the looks of the one below, and one that is a link there is moved to where the link leads: what unpacking onto the
 * mounted stack would have done, without waiting for it.
 */
import * as fs from 'node:fs';
import { DirectoryTree, fsName, isWhiteout, join, type Directory } from '../apply/directory-tree.ts';
import { copyNode } from '../apply/copy-node.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import { printable, type ByteString } from '../tar/entry.ts';
import type { LowerEntry, LowerStack } from './lower-stack.ts';

/** As many symbolic links in one path as Linux follows. */
const MAX_LINKS = 40;

/**
 * Settles the guessed directories of the layer in `root`.
 *
 * @param implied - paths of the guessed directories, parents before children; `''` is the root
 * @throws {LayerStoreError} `INVALID_TAR` when symbolic links go round in a circle
 */
export function settleImplied(
  layerFs: LayerFs,
  root: string,
  lower: LowerStack,
  implied: readonly ByteString[],
): void {
  using tree = new DirectoryTree(layerFs, root);
  const settler = new Settler(layerFs, tree, lower, implied);
  for (const path of implied) settler.settle(path);
}

/** Finds and makes places in a layer, with the layers below it in view. */
export class Settler {
  readonly #fs: LayerFs;
  readonly #tree: DirectoryTree;
  readonly #lower: LowerStack;
  readonly #implied: ReadonlySet<ByteString>;
  /** Where guessed directories were moved; applies to all below them. */
  readonly #moved = new Map<ByteString, ByteString>();

  constructor(layerFs: LayerFs, tree: DirectoryTree, lower: LowerStack, implied: readonly ByteString[]) {
    this.#fs = layerFs;
    this.#tree = tree;
    this.#lower = lower;
    this.#implied = new Set(implied);
  }

  /** Where a path leads, links among its parents followed and the last component not; the directory is made if need be. */
  place(path: readonly ByteString[]): [parent: Directory, name: ByteString] {
    return [this.#make(this.#resolve(path.slice(0, -1), '')), path.at(-1)!];
  }

  /** Copies up what shows through at a place of this layer; false when that is nothing, or a directory. */
  copyUp(parent: Directory, name: ByteString): boolean {
    const path = [...split(parent.path), name];
    const { kind } = this.#below(path);
    if (kind === 'missing' || kind === 'directory') return false;
    const to = { directory: parent, name };
    return this.#lower.withNode(path, (from, stat) => copyNode(this.#fs, from, to, stat)) ?? false;
  }

  /** Settles one guessed directory. */
  settle(path: ByteString): void {
    this.#tree.release();
    const present = this.#presentPath(path);
    const components = split(present);
    if (this.#stat(components)?.isDirectory() !== true) return;
    const below = this.#below(components);
    if (below.kind === 'directory') this.#adopt(components, below);
    else if (below.kind === 'symlink') {
      const target = this.#resolve([...components.slice(0, -1), ...split(below.target)], below.target);
      this.#moved.set(path, target.join('/'));
      this.#move(components, target);
    }
  }

  /** The path after the moves of its parents. */
  #presentPath(path: ByteString): ByteString {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const moved = this.#moved.get(path.slice(0, end));
      if (moved !== undefined) return join(moved, path.slice(end + 1));
    }
    return path;
  }

  /** Follows links through this layer and those below, with their root as `/`. */
  #resolve(path: readonly ByteString[], link: ByteString): ByteString[] {
    const queue = link.startsWith('/') ? split(link) : [...path];
    const resolved: ByteString[] = [];
    let links = 0;
    while (queue.length > 0) {
      const name = queue.shift()!;
      if (name === '..') {
        resolved.pop();
        continue;
      }
      const target = this.#linkAt([...resolved, name]);
      if (target === undefined) {
        resolved.push(name);
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) {
        throw new LayerStoreError('INVALID_TAR', `symbolic links go round in a circle: ${printable(link)}`);
      }
      if (target.startsWith('/')) resolved.length = 0;
      queue.unshift(...split(target));
    }
    return resolved;
  }

  /** Target of the symbolic link at a path, in this layer or else below; undefined for anything but a link. */
  #linkAt(components: ByteString[]): ByteString | undefined {
    const parent = this.#open(components.slice(0, -1));
    const stat = parent === undefined ? undefined : this.#tree.stat(parent, components.at(-1)!);
    if (stat?.isSymbolicLink() === true) return this.#tree.readLink(parent!, components.at(-1)!);
    // a guessed directory does not hide a link; whatever else this layer has does
    if (stat !== undefined && !(stat.isDirectory() && this.#implied.has(components.join('/'))))
      return undefined;
    const below = this.#below(components);
    return below.kind === 'symlink' ? below.target : undefined;
  }

  /** Moves all inside one directory of this layer into another, which is made when it is not there. */
  #move(from: ByteString[], to: ByteString[]): void {
    const target = this.#make(to);
    const source = this.#open(from)!;
    this.#merge(source, target);
    const parent = this.#open(from.slice(0, -1))!;
    this.#tree.remove(parent, from.at(-1)!);
  }

  #merge(source: Directory, target: Directory): void {
    for (const name of this.#tree.names(source)) {
      const existing = this.#tree.stat(target, name);
      const moving = this.#tree.stat(source, name)!;
      if (existing?.isDirectory() === true && moving.isDirectory()) {
        const innerSource = this.#tree.openChild(source, name);
        try {
          const innerTarget = this.#tree.openChild(target, name);
          try {
            this.#merge(innerSource, innerTarget);
          } finally {
            fs.closeSync(innerTarget.fd);
          }
        } finally {
          fs.closeSync(innerSource.fd);
        }
        continue;
      }
      // of two files the archive does not tell us which came last; a whiteout beside a file means only what is below
      if (existing !== undefined && isWhiteout(moving)) continue;
      if (existing !== undefined) this.#tree.remove(target, name);
      fs.renameSync(inDirectory(source.fd, fsName(name)), inDirectory(target.fd, fsName(name)));
    }
  }

  /** Opens a directory of this layer, making what is missing and settling what was made. */
  #make(components: readonly ByteString[]): Directory {
    for (let depth = 1; depth <= components.length; depth++) {
      const path = components.slice(0, depth);
      const parent = this.#open(path.slice(0, -1))!;
      const name = path.at(-1)!;
      const stat = this.#tree.stat(parent, name);
      if (stat?.isDirectory() === true) continue;
      if (stat !== undefined) {
        throw new LayerStoreError(
          'INVALID_TAR',
          `${printable(path.join('/'))} is not a directory, yet a link of the layers below leads into it`,
        );
      }
      this.#fs.mkdirat(parent.fd, fsName(name), 0o755);
      const below = this.#below(path);
      if (below.kind === 'directory') this.#adopt(path, below);
    }
    return this.#open(components)!;
  }

  /** What shows through this layer at a path: nothing below a directory that it made opaque. */
  #below(components: readonly ByteString[]): LowerEntry {
    for (let depth = 1; depth < components.length; depth++) {
      const parent = this.#open(components.slice(0, depth - 1));
      if (parent === undefined) break;
      if (this.#lower.isOpaque(parent, components[depth - 1]!)) return { kind: 'missing' };
    }
    return this.#lower.lookup(components);
  }

  /** Gives a directory of this layer the looks of the one below. */
  #adopt(components: readonly ByteString[], { stat, xattrs }: LowerEntry & { kind: 'directory' }): void {
    const parent = this.#open(components.slice(0, -1))!;
    const name = fsName(components.at(-1) ?? '.');
    this.#fs.fchownat(parent.fd, name, Number(stat.uid), Number(stat.gid));
    this.#fs.fchmodat(parent.fd, name, Number(stat.mode) & 0o7777);
    for (const [attribute, value] of xattrs) this.#fs.setxattrat(parent.fd, name, attribute, value);
    this.#fs.utimensat(parent.fd, name, stat.atimeNs, stat.mtimeNs);
  }

  #stat(components: readonly ByteString[]): fs.Stats | undefined {
    const parent = this.#open(components.slice(0, -1));
    return parent === undefined ? undefined : this.#tree.stat(parent, components.at(-1) ?? '.');
  }

  #open(components: readonly ByteString[]): Directory | undefined {
    try {
      return this.#tree.open(components, false);
    } catch (error) {
      const code = error instanceof LayerStoreError ? error.code : systemCode(error);
      if (code === 'NOT_FOUND' || code === 'INVALID_TAR') return undefined;
      throw error;
    }
  }
}

/** The components of a path. */
export function split(path: ByteString): ByteString[] {
  return path.split('/').filter((component) => component !== '' && component !== '.');
}
