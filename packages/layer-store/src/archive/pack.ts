/**
 * Reads a directory tree as a tar archive. The same tree always gives the same bytes: members come in the order of
 * their names, and nothing of this machine gets in.
 *
 * The tree may be hostile and change meanwhile: directories and files are opened by descriptors, never through a link,
 * and nothing but a regular file is ever read.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { fsName, type Directory } from '../apply/directory-tree.ts';
import { LayerStoreError } from '../errors.ts';
import { RESOLVE } from '../fs.ts';
import { printable, tarTypeOf, type ByteString, type TarEntry } from '../tar/entry.ts';
import { OPAQUE_WHITEOUT, parseWhiteout, whiteoutName } from '../tar/whiteout.ts';
import { encodeTarHeader, TAR_END, tarPadding } from '../tar/write.ts';
import { describeInode, describeMember, describePlainFile, emptyMember } from './describe-inode.ts';
import type { PackOptions } from './pack-options.ts';
import { TarPieces } from './pieces.ts';
import { summarizeContent, summarizeEntry } from './summary.ts';
import { closeAll, mergedNames, openMerged, pinFirst } from './merged.ts';
import { readError, reopen } from './pin.ts';

const { O_NONBLOCK, O_RDONLY } = fs.constants;
const read = promisify(fs.read);

/** Files up to this size are read at once: a trip to the thread pool takes longer. */
const SMALL_FILE_BYTES = 64 * 1024;
/** Longest time before other work gets its turn. */
const SLICE_MS = 5;

/**
 * The archive of what is below `directory` (an open descriptor, O_PATH or not, that stays the caller's), in pieces of
 * up to 256 KiB.
 *
 * Sockets are left out, as in every tar. A file that shrinks while it is read is filled up with zeros, one that grows
 * is cut; a name that vanishes is left out.
 *
 * @throws {LayerStoreError} `NOT_FOUND` for `name`; `UNSAFE_ENTRY` for a layer with a file whose name means a whiteout;
 * `IO_ERROR`
 */
export async function* packTree(
  directory: number,
  options: PackOptions,
): AsyncGenerator<Buffer, void, undefined> {
  using packer = new Packer(options);
  yield* packer.run(directory);
}

/** A directory whose members are being listed. */
interface Level {
  /** All that are merged there, topmost first: one, unless a stack is read. */
  directories: readonly Directory[];
  /** Its path in the archive with a slash at the end, or empty. */
  prefix: ByteString;
  names: ByteString[];
  next: number;
}

class Packer implements Disposable {
  readonly #options: PackOptions;
  readonly #opaque: string | undefined;
  /** Whether a stack of layers is read: marks hide what is below, and are not listed. */
  readonly #merges: boolean;
  readonly #stack: Level[] = [];
  /** Inodes with several names that have been listed, and by which. */
  readonly #links = new Map<string, ByteString>();
  readonly #pieces: TarPieces;
  /** Where small files are read to. */
  readonly #scratch = Buffer.allocUnsafeSlow(SMALL_FILE_BYTES);

  constructor(options: PackOptions) {
    this.#options = options;
    this.#pieces = new TarPieces(options);
    const { overlayXattrs = 'none' } = options;
    this.#opaque = overlayXattrs === 'none' ? undefined : `${overlayXattrs}.overlay.opaque`;
    this.#merges = options.below !== undefined;
  }

  async *run(directory: number): AsyncGenerator<Buffer, void, undefined> {
    const { name, signal } = this.#options;
    const top: Directory = { fd: directory, path: '' };
    if (name === undefined) {
      const { as, contentOnly } = this.#options;
      const prefix = as === undefined || as.endsWith('/') ? (as ?? '') : `${as}/`;
      if (as !== undefined && contentOnly !== true)
        this.#member(describeMember(top, '.', prefix, this.#options));
      const merged = [directory, ...(this.#options.below ?? [])];
      this.#enter(
        merged.map((fd) => ({ fd: reopen(fd), path: '' })),
        as === '.' ? '' : prefix,
      );
    } else {
      const file = this.#list([top], name, this.#options.as ?? name, true);
      if (file !== undefined) yield* this.#content(file.fd, file.size);
    }
    let sliceStart = performance.now();
    for (let level = this.#stack.at(-1); level !== undefined; level = this.#stack.at(-1)) {
      const child = level.names[level.next];
      if (child === undefined) {
        this.#leave();
        continue;
      }
      level.next += 1;
      const path = level.prefix + child;
      if (this.#options.without?.has(path) === true) continue;
      if (!this.#listPlain(level.directories, child, path)) {
        const file = this.#list(level.directories, child, path, false);
        if (file !== undefined) yield* this.#content(file.fd, file.size);
      }
      while (this.#pieces.full) yield this.#pieces.take();
      if (performance.now() - sliceStart < SLICE_MS) continue;
      await setImmediate();
      signal?.throwIfAborted();
      sliceStart = performance.now();
    }
    const { endMark = true, summary = false } = this.#options;
    if (endMark && !summary) this.#pieces.put(TAR_END);
    while (!this.#pieces.empty) yield this.#pieces.take();
  }

  [Symbol.dispose](): void {
    while (this.#stack.length > 0) this.#leave();
  }

  /** Lists a small file of which there is not much to know, in one call. False: it is to be listed in the ordinary way. */
  #listPlain(parents: readonly Directory[], name: ByteString, path: ByteString): boolean {
    const { fs: layerFs, oneFileSystem = false, summary = false, exclude, members } = this.#options;
    const [parent] = parents;
    if (layerFs.readPlainFile === undefined || summary || parents.length > 1 || parent === undefined)
      return false;
    const resolve = RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS | (oneFileSystem ? RESOLVE.NO_XDEV : 0);
    const file = layerFs.readPlainFile(parent.fd, fsName(name), resolve, this.#scratch);
    if (file === undefined) return false;
    this.#checkName(name, path);
    if (exclude?.(path, false) === true) return true;
    try {
      this.#header(describePlainFile(path, file, this.#options));
      const content = this.#scratch.subarray(0, file.size);
      this.#pieces.put(content);
      this.#pieces.put(tarPadding(file.size));
      members?.data(content, 0);
      members?.entryEnd();
    } catch (error) {
      throw readError(error, path);
    }
    return true;
  }

  /** Lists one name. A regular file comes back open, for its content to follow; the taker closes it. */
  #list(
    parents: readonly Directory[],
    name: ByteString,
    path: ByteString,
    required: boolean,
  ): { fd: number; size: number } | undefined {
    const found = pinFirst(this.#options, parents, name, required);
    if (found === undefined) return undefined;
    const { fd: pinned, foreign, parents: merged } = found;
    const parent = merged[0]!;
    try {
      const stat = fs.fstatSync(pinned, { bigint: true });
      if (this.#opaque !== undefined && this.#mark(name, path, stat)) return undefined;
      const type = tarTypeOf(stat);
      if (type === undefined || this.#options.exclude?.(path, type === 'directory') === true)
        return undefined;
      if (type === 'directory') {
        this.#member(describeMember(parent, name, `${path}/`, this.#options, stat));
        if (!foreign) this.#descend(merged, name, path);
        return undefined;
      }
      const inode = stat.nlink > 1n ? `${stat.dev}:${stat.ino}` : undefined;
      const first = inode === undefined ? undefined : this.#links.get(inode);
      if (first !== undefined) {
        this.#member({
          ...describeInode(path, stat, this.#options),
          type: 'hardlink',
          linkName: first,
          size: 0,
        });
        return undefined;
      }
      if (inode !== undefined) this.#links.set(inode, path);
      const entry = describeMember(parent, name, path, this.#options, stat);
      if (foreign) entry.size = 0;
      if (type === 'file' && !foreign) return this.#open(entry, pinned);
      this.#member(entry);
    } catch (error) {
      throw readError(error, path);
    } finally {
      fs.closeSync(pinned);
    }
  }

  /** Lists a file whose content follows. */
  #open(entry: TarEntry, pinned: number): { fd: number; size: number } {
    // by its descriptor: what the name means by now does not matter
    const fd = fs.openSync(`/proc/self/fd/${pinned}`, O_RDONLY | O_NONBLOCK);
    try {
      this.#header(entry);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    return { fd, size: entry.size };
  }

  /** Lists what is whole with its header. */
  #member(entry: TarEntry): void {
    this.#header(entry);
    this.#options.members?.entryEnd();
  }

  #header(entry: TarEntry): void {
    const { summary = false, members } = this.#options;
    this.#pieces.put(summary ? Buffer.from(summarizeEntry(entry)) : encodeTarHeader(entry));
    members?.entry(entry);
  }

  /** Lists the whiteout that a mark of the overlay file system means. */
  #mark(name: ByteString, path: ByteString, stat: fs.BigIntStats): boolean {
    this.#checkName(name, path);
    if (!(stat.isCharacterDevice() && stat.rdev === 0n)) return false;
    if (this.#merges) return true;
    this.#member(emptyMember(path.slice(0, path.length - name.length) + whiteoutName(name)));
    return true;
  }

  /** A layer cannot have files with names of whiteouts. */
  #checkName(name: ByteString, path: ByteString): void {
    if (this.#opaque !== undefined && parseWhiteout(name) !== undefined) {
      throw new LayerStoreError(
        'UNSAFE_ENTRY',
        `${printable(path)} cannot be part of a layer: names that begin with .wh. mean removed files there`,
        { entry: path },
      );
    }
  }

  #descend(parents: readonly Directory[], name: ByteString, path: ByteString): void {
    const inner = openMerged(this.#options.fs, parents, name, this.#opaque);
    // not a directory any more
    if (inner.directories.length === 0) return;
    this.#enter(inner.directories, `${path}/`);
    if (inner.opaque && !this.#merges) this.#member(emptyMember(`${path}/${OPAQUE_WHITEOUT}`));
  }

  /** The descriptors become this object's. */
  #enter(directories: readonly Directory[], prefix: ByteString): void {
    try {
      this.#stack.push({ directories, prefix, names: mergedNames(directories), next: 0 });
    } catch (error) {
      closeAll(directories);
      throw readError(error, prefix);
    }
  }

  #leave(): void {
    closeAll(this.#stack.pop()!.directories);
  }

  /** `size` bytes of an open file, zeros where it has become shorter, and the padding. Closes `fd`. */
  async *#content(fd: number, size: number): AsyncGenerator<Buffer, void, undefined> {
    const { members, summary } = this.#options;
    const hash = summary === true ? createHash('sha256') : undefined;
    try {
      let position = 0;
      while (position < size) {
        if (this.#pieces.full) yield this.#pieces.take();
        const room = this.#pieces.room(size - position);
        const got =
          size <= SMALL_FILE_BYTES
            ? fs.readSync(fd, room, 0, room.length, position)
            : (await read(fd, room, 0, room.length, position)).bytesRead;
        if (got === 0) room.fill(0);
        const bytes = got === 0 || got === room.length ? room : room.subarray(0, got);
        // what is only looked at leaves its place to what comes next
        if (hash === undefined) this.#pieces.add(bytes.length);
        else hash.update(bytes);
        members?.data(bytes, position);
        position += bytes.length;
        this.#options.signal?.throwIfAborted();
      }
      this.#pieces.put(
        hash === undefined ? tarPadding(size) : Buffer.from(summarizeContent(hash.digest('hex'))),
      );
      members?.entryEnd();
    } finally {
      fs.closeSync(fd);
    }
  }
}
