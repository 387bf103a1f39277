/** What the whiteouts of an archive do: they become overlay's marks, or remove what is there. */
import * as fs from 'node:fs';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { printable, type ByteString } from '../tar/entry.ts';
import { parseWhiteout, type Whiteout } from '../tar/whiteout.ts';
import type { DirectoryRecords } from './directory-records.ts';
import { fsName, join, type Directory, type DirectoryTree } from './directory-tree.ts';

/** One that does something. */
export type AppliedWhiteout = Exclude<Whiteout, { kind: 'ignored' }>;

/** Applies whiteouts to a tree. */
export interface WhiteoutApplier {
  /** Applies one that a member of `parent` stands for. */
  apply(parent: Directory, whiteout: AppliedWhiteout): void;
  /** This layer has written `path`: its own files are not for its whiteouts to remove. */
  markWritten(path: ByteString): void;
}

/** Makes the marks of the overlay file system: character devices 0:0, opaque directories. */
export class OverlayMarks implements WhiteoutApplier {
  readonly #fs: LayerFs;
  readonly #tree: DirectoryTree;
  readonly #directories: DirectoryRecords;

  constructor(layerFs: LayerFs, tree: DirectoryTree, directories: DirectoryRecords) {
    this.#fs = layerFs;
    this.#tree = tree;
    this.#directories = directories;
  }

  apply(parent: Directory, whiteout: AppliedWhiteout): void {
    if (whiteout.kind === 'opaque') {
      this.#directories.makeOpaque(parent.path);
      return;
    }
    const stat = this.#tree.stat(parent, whiteout.name);
    if (stat === undefined) {
      this.#fs.mknodat(parent.fd, fsName(whiteout.name), fs.constants.S_IFCHR | 0o600, 0, 0);
    } else if (stat.isDirectory()) {
      // the layer has a directory of its own here: the whiteout means what is below it
      this.#directories.makeOpaque(join(parent.path, whiteout.name));
    }
  }

  markWritten(): void {}
}

/** Removes what is there, unless the layer wrote it. */
export class Removals implements WhiteoutApplier {
  readonly #tree: DirectoryTree;
  readonly #remove: (parent: Directory, name: ByteString) => void;
  readonly #written = new Set<ByteString>();

  constructor(tree: DirectoryTree, remove: (parent: Directory, name: ByteString) => void) {
    this.#tree = tree;
    this.#remove = remove;
  }

  apply(parent: Directory, whiteout: AppliedWhiteout): void {
    if (whiteout.kind === 'opaque') this.#empty(parent);
    else if (!this.#written.has(join(parent.path, whiteout.name))) this.#remove(parent, whiteout.name);
  }

  markWritten(path: ByteString): void {
    let at = path;
    while (at !== '' && !this.#written.has(at)) {
      this.#written.add(at);
      at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
    }
  }

  /** Empties a directory of everything that this layer did not write. */
  #empty(directory: Directory): void {
    for (const name of this.#tree.names(directory)) {
      if (!this.#written.has(join(directory.path, name))) this.#remove(directory, name);
      else if (this.#tree.stat(directory, name)?.isDirectory() === true) {
        const child = this.#tree.openChild(directory, name);
        try {
          this.#empty(child);
        } finally {
          fs.closeSync(child.fd);
        }
      }
    }
  }
}

/** aufs keeps directories of its own (`.wh..wh.plnk/`), which are skipped whole; other whiteouts hold nothing. */
export function isInsideWhiteout(components: readonly ByteString[], path: ByteString): boolean {
  for (const component of components) {
    const whiteout = parseWhiteout(component);
    if (whiteout?.kind === 'ignored') return true;
    if (whiteout !== undefined) {
      throw new LayerStoreError('UNSAFE_ENTRY', `${printable(path)} is inside a whiteout`, { entry: path });
    }
  }
  return false;
}
