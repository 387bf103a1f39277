/** The directories of a layer: their modes and times come last, because writing inside changes or needs them. */
import type { ByteString, TarEntry } from '../tar/entry.ts';
import type { DirectoryTree } from './directory-tree.ts';
import { memberError } from './member-error.ts';
import type { MetadataWriter } from './metadata.ts';

/** What to give a directory once nothing more is written into it. */
interface DirectoryRecord {
  /** Undefined for a directory that no member lists. */
  entry: TarEntry | undefined;
  opaque: boolean;
}

/** Directories that were made, or are listed by members. */
export class DirectoryRecords {
  readonly #tree: DirectoryTree;
  readonly #metadata: MetadataWriter;
  /** By path, in order of creation. */
  readonly #records = new Map<ByteString, DirectoryRecord>();
  /** Whether some of them may have been removed or replaced since. */
  #stale = false;

  constructor(tree: DirectoryTree, metadata: MetadataWriter) {
    this.#tree = tree;
    this.#metadata = metadata;
  }

  get size(): number {
    return this.#records.size;
  }

  /** One that a member lists; undefined: that had to be made on the way to one. */
  set(path: ByteString, entry: TarEntry | undefined, opaque: boolean): void {
    this.#records.set(path, { entry, opaque });
  }

  /** Whether a directory was made at `path`, or may have been there. */
  has(path: ByteString): boolean {
    return this.#records.has(path);
  }

  isOpaque(path: ByteString): boolean {
    return this.#records.get(path)?.opaque ?? false;
  }

  /** What the layers below have in it does not show. */
  makeOpaque(path: ByteString): void {
    this.#records.set(path, { entry: this.#records.get(path)?.entry, opaque: true });
  }

  /** A directory was removed, with those in it. */
  markStale(): void {
    this.#stale = true;
  }

  /** Gives all of them their looks. @returns those that no member lists, parents before children */
  finish(): ByteString[] {
    // children first: a mode may forbid this process to enter
    for (const [path, record] of [...this.#records].reverse()) {
      this.#tree.release();
      try {
        if (this.#stale && !this.#isDirectory(path)) this.#records.delete(path);
        else this.#finish(path, record);
      } catch (error) {
        throw memberError(error, path);
      }
    }
    const implied: ByteString[] = [];
    for (const [path, { entry, opaque }] of this.#records) {
      if (entry === undefined && !opaque) implied.push(path);
    }
    return implied;
  }

  #isDirectory(path: ByteString): boolean {
    const components = path.split('/');
    const name = components.pop()!;
    if (name === '') return true;
    // a record whose parent was replaced by a file has no path any more
    for (let depth = 0; depth < components.length; depth++) {
      if (!this.#isDirectory(components.slice(0, depth + 1).join('/'))) return false;
    }
    return this.#tree.stat(this.#tree.open(components, false), name)?.isDirectory() === true;
  }

  #finish(path: ByteString, { entry, opaque }: DirectoryRecord): void {
    const components = path === '' ? [] : path.split('/');
    const name = components.pop() ?? '.';
    this.#metadata.directory(this.#tree.open(components, false), name, entry, opaque);
  }
}
