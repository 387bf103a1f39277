/** Writes the regular files of an archive: a small one in one call and beside everything else, where that can be had. */
import * as fs from 'node:fs';
import { RESOLVE, type FileQueue, type LayerFs } from '../fs.ts';
import type { ByteString, TarEntry } from '../tar/entry.ts';
import { fsName, join, type Directory } from './directory-tree.ts';
import { memberError } from './member-error.ts';
import type { MetadataWriter } from './metadata.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants;
const NOTHING = new Uint8Array();
/** Larger files are not worth a copy. */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** So many names are kept at most. */
const MAX_PENDING = 4096;

/** Runs `make`, which fails with EEXIST rather than to replace, and makes room for it. */
export type Replacing = <T>(parent: Directory, name: ByteString, make: () => T) => T;

/** A file that is being written. */
interface OpenFile {
  /** Undefined until there is something to write. */
  fd: number | undefined;
  parent: Directory;
  name: ByteString;
  entry: TarEntry;
  /** Whether something else than a file is in its place. */
  isOccupied: boolean;
  /** Where the last piece ended. */
  end: number;
}

/** One file after the other; pieces of no file are dropped. Dispose of it always. */
export class FileWriter implements Disposable {
  readonly #fs: LayerFs;
  readonly #metadata: MetadataWriter;
  readonly #replacing: Replacing;
  readonly #queue: FileQueue | undefined;
  /** Paths of files that the queue may still have. */
  readonly #pending = new Set<ByteString>();
  /** The names of their members, in order, and how many others the queue was given before. */
  #queued: ByteString[] = [];
  #settled = 0;
  #file: OpenFile | undefined;

  /** @param queue - disposed of with this; with it files may come to be some time after their end */
  constructor(
    layerFs: LayerFs,
    metadata: MetadataWriter,
    queue: FileQueue | undefined,
    replacing: Replacing,
  ) {
    this.#fs = layerFs;
    this.#metadata = metadata;
    this.#queue = queue;
    this.#replacing = replacing;
  }

  /**
   * Begins a file. It is made when its content comes, or with {@link FileWriter.end}.
   *
   * @param isOccupied - something else than a file is in its place
   */
  begin(parent: Directory, name: ByteString, entry: TarEntry, isOccupied: boolean): void {
    this.#file = { fd: undefined, parent, name, entry, isOccupied, end: 0 };
  }

  /** Whether there may not yet be a file that was ended. */
  isPending(path: ByteString): boolean {
    return this.#pending.has(path);
  }

  /** Waits until all that were ended are there. @throws {LayerStoreError} `IO_ERROR` of one that cannot be made */
  settle(): void {
    if (this.#queue === undefined || this.#pending.size === 0) return;
    const failed = this.#queue.settle();
    if (failed !== undefined) throw memberError(failed.error, this.#queued[failed.number - this.#settled]!);
    this.#settled += this.#queued.length;
    this.#queued = [];
    this.#pending.clear();
  }

  data(bytes: Uint8Array, position: number): void {
    const file = this.#file;
    // content of a whiteout: there should be none, and nobody wants it
    if (file === undefined) return;
    try {
      if (bytes.length === file.entry.size && this.#createWhole(file, bytes)) return;
      const fd = (file.fd ??= this.#create(file));
      let at = 0;
      while (at < bytes.length) at += fs.writeSync(fd, bytes, at, bytes.length - at, position + at);
    } catch (error) {
      throw memberError(error, file.entry.name);
    }
    file.end = position + bytes.length;
  }

  /** Ends the file, if one was begun: what is left out at its end is a hole. */
  end(): void {
    const file = this.#file;
    if (file === undefined) return;
    const { parent, name, entry } = file;
    try {
      if (entry.size === 0 && this.#createWhole(file, NOTHING)) return;
      const fd = (file.fd ??= this.#create(file));
      if (file.end < entry.size) fs.ftruncateSync(fd, entry.size);
      this.#metadata.file(fd, parent, name, entry);
    } catch (error) {
      throw memberError(error, entry.name);
    } finally {
      this.#close();
    }
  }

  [Symbol.dispose](): void {
    this.#close();
    this.#queue?.[Symbol.dispose]();
  }

  #close(): void {
    const fd = this.#file?.fd;
    this.#file = undefined;
    if (fd !== undefined) fs.closeSync(fd);
  }

  #create(file: OpenFile): number {
    return this.#now(file, ({ fd }, name) =>
      this.#fs.openat2(fd, name, {
        flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        mode: 0o600,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      }),
    );
  }

  /** Makes a file with all its content, or has it made, if that can be; then it is done. */
  #createWhole(file: OpenFile, content: Uint8Array): boolean {
    const { fd, parent, name, entry, isOccupied } = file;
    if (fd !== undefined || entry.xattrs.size > 0) return false;
    const attributes = this.#metadata.ofNewFile(entry);
    const { createFile } = this.#fs;
    if (this.#queue !== undefined && !isOccupied && content.length <= MAX_QUEUED_BYTES) {
      if (this.#pending.size === MAX_PENDING) this.settle();
      this.#pending.add(join(parent.path, name));
      this.#queued.push(entry.name);
      if (!this.#queue.add(parent.fd, fsName(name), content, attributes)) this.settle();
    } else {
      if (createFile === undefined) return false;
      this.#now(file, (directory, itsName) => createFile(directory.fd, itsName, content, attributes));
    }
    this.#file = undefined;
    return true;
  }

  /** Makes a file at once, in place of what is there. */
  #now<T>({ parent, name }: OpenFile, make: (parent: Directory, name: string | Buffer) => T): T {
    if (this.#pending.has(join(parent.path, name))) this.settle();
    return this.#replacing(parent, name, () => make(parent, fsName(name)));
  }
}
