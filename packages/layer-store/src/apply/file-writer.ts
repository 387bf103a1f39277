/** Writes the regular files of an archive: a small one in one call, where that can be had. */
import * as fs from 'node:fs';
import { RESOLVE, type LayerFs } from '../fs.ts';
import type { ByteString, TarEntry } from '../tar/entry.ts';
import { fsName, type Directory } from './directory-tree.ts';
import { memberError } from './member-error.ts';
import type { MetadataWriter } from './metadata.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants;
const NOTHING = new Uint8Array();

/** Runs `make`, which fails with EEXIST rather than to replace, and makes room for it. */
export type Replacing = <T>(parent: Directory, name: ByteString, make: () => T) => T;

/** A file that is being written. */
interface OpenFile {
  /** Undefined until there is something to write. */
  fd: number | undefined;
  parent: Directory;
  name: ByteString;
  entry: TarEntry;
  /** Where the last piece ended. */
  end: number;
}

/** One file after the other; pieces of no file are dropped. Dispose of it always. */
export class FileWriter implements Disposable {
  readonly #fs: LayerFs;
  readonly #metadata: MetadataWriter;
  readonly #replacing: Replacing;
  #file: OpenFile | undefined;

  constructor(layerFs: LayerFs, metadata: MetadataWriter, replacing: Replacing) {
    this.#fs = layerFs;
    this.#metadata = metadata;
    this.#replacing = replacing;
  }

  /** Begins a file. It is made when its content comes, or with {@link FileWriter.end}. */
  begin(parent: Directory, name: ByteString, entry: TarEntry): void {
    this.#file = { fd: undefined, parent, name, entry, end: 0 };
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
      this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    const fd = this.#file?.fd;
    this.#file = undefined;
    if (fd !== undefined) fs.closeSync(fd);
  }

  #create({ parent, name }: OpenFile): number {
    return this.#replacing(parent, name, () =>
      this.#fs.openat2(parent.fd, fsName(name), {
        flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        mode: 0o600,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      }),
    );
  }

  /** Makes a file with all its content, if that can be; then it is done. */
  #createWhole({ fd, parent, name, entry }: OpenFile, content: Uint8Array): boolean {
    const { createFile } = this.#fs;
    if (createFile === undefined || fd !== undefined || entry.xattrs.size > 0) return false;
    const attributes = this.#metadata.ofNewFile(entry);
    this.#replacing(parent, name, () => createFile(parent.fd, fsName(name), content, attributes));
    this.#file = undefined;
    return true;
  }
}
