/**
 * Reads a directory tree as a tar archive. The same tree always gives the same bytes: members come in the order of
 * their names, and nothing of this machine gets in.
 *
 * The tree may be hostile and change meanwhile: directories and files are opened by descriptors, never through a link,
 * and nothing but a regular file is ever read.
 */
import * as fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { fsName, join, type Directory } from '../apply/directory-tree.ts';
import { toContainer, type IdMap } from '../apply/id-map.ts';
import { isLayerXattr } from '../apply/xattrs.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import { RESOLVE, type LayerFs } from '../fs.ts';
import { inDirectory, O_PATH } from '../node-fs.ts';
import { printable, tarTypeOf, type ByteString, type TarEntry } from '../tar/entry.ts';
import { OPAQUE_WHITEOUT, parseWhiteout, whiteoutName } from '../tar/whiteout.ts';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '../tar/write.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;
const read = promisify(fs.read);

/** Options of {@link packTree}. */
export interface PackOptions {
  fs: LayerFs;
  /**
   * What to read of the open directory: one name in it, with everything below. Default: the directory itself, whose
   * content is then listed by bare names.
   */
  name?: ByteString;
  /**
   * What the archive calls it. Default: as it is called; the directory itself is not listed, unless it is called `.`. With
   * `./` it is listed, and every name in it begins with that.
   */
  as?: ByteString;
  /**
   * `'none'` (default): the tree is taken as it is. `'trusted'` or `'user'`: it is a layer of the overlay file system
   * with marks in that name space, which become whiteouts of the archive.
   */
  overlayXattrs?: 'none' | 'trusted' | 'user';
  /**
   * Open directories that show through the first, topmost first: then it is the stack of layers that is read, as if it
   * were mounted, and what their marks hide is left out. With `overlayXattrs`, and without `name`. They stay the caller's.
   */
  below?: readonly number[];
  /** Leaves out what lies on other mounts: a mount point comes as an empty directory, or file. Default false. */
  oneFileSystem?: boolean;
  /** Paths in the archive that are left out, with everything below them. */
  without?: ReadonlySet<ByteString>;
  /** Of the directory itself, only the content is listed, each name after `as` and a slash. Default false. */
  contentOnly?: boolean;
  /** Shifts owners of the host back to those of the image. Default: ids are the same on both sides. */
  idMap?: IdMap | undefined;
  /** Owner of everything. Default: as it is. */
  owner?: { uid: number; gid: number };
  /** Permission bits of a file, in place of its own. Default: as they are. */
  modeOf?: (entry: TarEntry) => number;
  /** Time of everything, in nanoseconds. Default: as it is. */
  mtimeNs?: bigint;
  /** Later times become this one, in nanoseconds. Default: none do. */
  maxMtimeNs?: bigint | undefined;
  /** Left out when true, with everything below; gets the path in the archive. */
  exclude?: (path: ByteString, isDirectory: boolean) => boolean;
  /** False leaves out the end mark: another archive follows. Default true. */
  endMark?: boolean;
  signal?: AbortSignal;
}

/** Size of the pieces of archive. */
const CHUNK_BYTES = 256 * 1024;
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
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #used = 0;

  constructor(options: PackOptions) {
    this.#options = options;
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
        this.#put(encodeTarHeader(this.#describe(top, '.', prefix)));
      const merged = [directory, ...(this.#options.below ?? [])];
      this.#enter(
        merged.map((fd) => ({ fd: reopen(fd), path: '' })),
        as === '.' ? '' : prefix,
      );
    } else {
      const file = this.#member([top], name, this.#options.as ?? name, true);
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
      if (this.#options.without?.has(level.prefix + child) === true) continue;
      const file = this.#member(level.directories, child, level.prefix + child, false);
      if (file !== undefined) yield* this.#content(file.fd, file.size);
      while (this.#used >= CHUNK_BYTES) yield this.#take();
      if (performance.now() - sliceStart < SLICE_MS) continue;
      await setImmediate();
      signal?.throwIfAborted();
      sliceStart = performance.now();
    }
    if (this.#options.endMark !== false) this.#put(TAR_END);
    while (this.#used > 0) yield this.#take();
  }

  [Symbol.dispose](): void {
    while (this.#stack.length > 0) this.#leave();
  }

  /** Lists one name. A regular file comes back open, for its content to follow; the taker closes it. */
  #member(
    parents: readonly Directory[],
    name: ByteString,
    path: ByteString,
    required: boolean,
  ): { fd: number; size: number } | undefined {
    const found = this.#first(parents, name, required);
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
        this.#put(encodeTarHeader(this.#describe(parent, name, `${path}/`, stat)));
        if (!foreign) this.#descend(merged, name, path);
        return undefined;
      }
      const inode = stat.nlink > 1n ? `${stat.dev}:${stat.ino}` : undefined;
      const first = inode === undefined ? undefined : this.#links.get(inode);
      if (first !== undefined) {
        this.#put(
          encodeTarHeader({ ...this.#entry(path, stat), type: 'hardlink', linkName: first, size: 0 }),
        );
        return undefined;
      }
      if (inode !== undefined) this.#links.set(inode, path);
      const entry = this.#describe(parent, name, path, stat);
      if (foreign) entry.size = 0;
      // opened anew by its descriptor: what the name means by now does not matter
      const fd =
        type === 'file' && !foreign
          ? fs.openSync(`/proc/self/fd/${pinned}`, O_RDONLY | O_NONBLOCK)
          : undefined;
      this.#put(encodeTarHeader(entry));
      return fd === undefined ? undefined : { fd, size: entry.size };
    } catch (error) {
      throw describeError(error, path);
    } finally {
      fs.closeSync(pinned);
    }
  }

  /** Lists the whiteout that a mark of the overlay file system means. */
  #mark(name: ByteString, path: ByteString, stat: fs.BigIntStats): boolean {
    if (parseWhiteout(name) !== undefined) {
      throw new LayerStoreError(
        'UNSAFE_ENTRY',
        `${printable(path)} cannot be part of a layer: names that begin with .wh. mean removed files there`,
        { entry: path },
      );
    }
    if (!(stat.isCharacterDevice() && stat.rdev === 0n)) return false;
    if (this.#merges) return true;
    this.#put(encodeTarHeader(emptyFile(path.slice(0, path.length - name.length) + whiteoutName(name))));
    return true;
  }

  /** The topmost of merged directories that has a name, with those below it. */
  #first(parents: readonly Directory[], name: ByteString, required: boolean) {
    for (const [at, parent] of parents.entries()) {
      const found = this.#pin(parent, name, required);
      if (found !== undefined) return { ...found, parents: parents.slice(at) };
    }
    return undefined;
  }

  #descend(parents: readonly Directory[], name: ByteString, path: ByteString): void {
    const merged: Directory[] = [];
    let opaque = false;
    try {
      for (const parent of parents) {
        const fd = this.#openDirectory(parent, name);
        // what is no directory hides those below it
        if (fd === 'other') break;
        if (fd === 'missing') continue;
        merged.push({ fd, path: join(parent.path, name) });
        opaque = this.#opaque !== undefined && this.#isOpaque(parent, name);
        if (opaque) break;
      }
    } catch (error) {
      for (const { fd } of merged) fs.closeSync(fd);
      throw error;
    }
    // not a directory any more
    if (merged.length === 0) return;
    this.#enter(merged, `${path}/`);
    if (opaque && !this.#merges) this.#put(encodeTarHeader(emptyFile(`${path}/${OPAQUE_WHITEOUT}`)));
  }

  #openDirectory(parent: Directory, name: ByteString): number | 'missing' | 'other' {
    try {
      return this.#options.fs.openat2(parent.fd, fsName(name), {
        flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      });
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT') return 'missing';
      if (code === 'ENOTDIR' || code === 'ELOOP') return 'other';
      throw error;
    }
  }

  #isOpaque(parent: Directory, name: ByteString): boolean {
    const value = this.#options.fs.getxattrat(parent.fd, fsName(name), this.#opaque!);
    return value !== undefined && Buffer.from(value).toString('latin1') === 'y';
  }

  /** The descriptors become this object's. */
  #enter(directories: readonly Directory[], prefix: ByteString): void {
    try {
      const names = new Set<ByteString>();
      for (const { fd } of directories) {
        for (const name of fs.readdirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1' })) names.add(name);
      }
      this.#stack.push({ directories, prefix, names: [...names].sort(), next: 0 });
    } catch (error) {
      for (const { fd } of directories) fs.closeSync(fd);
      throw describeError(error, prefix);
    }
  }

  #leave(): void {
    for (const { fd } of this.#stack.pop()!.directories) fs.closeSync(fd);
  }

  /** Holds the inode behind a name; `foreign` when it is on a mount that is not wanted. */
  #pin(parent: Directory, name: ByteString, required: boolean): { fd: number; foreign: boolean } | undefined {
    const open = (resolve: number): number =>
      this.#options.fs.openat2(parent.fd, fsName(name), { flags: O_PATH | O_NOFOLLOW, resolve });
    const resolve = RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS;
    try {
      if (this.#options.oneFileSystem !== true) return { fd: open(resolve), foreign: false };
      try {
        return { fd: open(resolve | RESOLVE.NO_XDEV), foreign: false };
      } catch (error) {
        if (systemCode(error) !== 'EXDEV') throw error;
        return { fd: open(resolve), foreign: true };
      }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw describeError(error, name);
      if (!required) return undefined;
      throw new LayerStoreError('NOT_FOUND', `${printable(name)} is not there`, { cause: error });
    }
  }

  #describe(
    parent: Directory,
    name: ByteString,
    path: ByteString,
    stat = fs.lstatSync(inDirectory(parent.fd, fsName(name)), { bigint: true }),
  ): TarEntry {
    const entry = this.#entry(path, stat);
    if (entry.type === 'symlink') {
      entry.linkName = fs.readlinkSync(inDirectory(parent.fd, fsName(name)), { encoding: 'latin1' });
    }
    const xattrs = new Map<string, Uint8Array>();
    for (const attribute of this.#attributes(parent, name)) {
      if (!isLayerXattr(attribute)) continue;
      const value = this.#options.fs.getxattrat(parent.fd, fsName(name), attribute);
      if (value !== undefined) xattrs.set(attribute, value);
    }
    entry.xattrs = xattrs;
    return entry;
  }

  #attributes(parent: Directory, name: ByteString): string[] {
    try {
      return this.#options.fs.listxattrat(parent.fd, fsName(name));
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOENT') return [];
      throw error;
    }
  }

  #entry(name: ByteString, stat: fs.BigIntStats): TarEntry {
    const type = tarTypeOf(stat)!;
    const device = type === 'character-device' || type === 'block-device';
    const { mtimeNs = stat.mtimeNs, maxMtimeNs, modeOf, idMap } = this.#options;
    const own = { uid: Number(stat.uid), gid: Number(stat.gid) };
    const owner = this.#options.owner ?? (idMap === undefined ? own : toContainer(idMap, own));
    const entry: TarEntry = {
      name,
      type,
      mode: Number(stat.mode & 0o7777n),
      uid: owner.uid,
      gid: owner.gid,
      size: type === 'file' ? Number(stat.size) : 0,
      mtimeNs: maxMtimeNs !== undefined && mtimeNs > maxMtimeNs ? maxMtimeNs : mtimeNs,
      atimeNs: undefined,
      linkName: '',
      // makedev(3) of Linux
      devMajor: device ? Number(((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & ~0xfffn)) : 0,
      devMinor: device ? Number((stat.rdev & 0xffn) | ((stat.rdev >> 12n) & ~0xffn)) : 0,
      xattrs: new Map(),
    };
    if (modeOf !== undefined && type !== 'symlink') entry.mode = modeOf(entry);
    return entry;
  }

  /** `size` bytes of an open file, zeros where it has become shorter, and the padding. Closes `fd`. */
  async *#content(fd: number, size: number): AsyncGenerator<Buffer, void, undefined> {
    try {
      let position = 0;
      while (position < size) {
        if (this.#used >= CHUNK_BYTES) yield this.#take();
        const length = Math.min(size - position, CHUNK_BYTES - this.#used);
        const got =
          size <= SMALL_FILE_BYTES
            ? fs.readSync(fd, this.#chunk, this.#used, length, position)
            : (await read(fd, this.#chunk, this.#used, length, position)).bytesRead;
        if (got === 0) this.#chunk.fill(0, this.#used, this.#used + length);
        this.#used += got === 0 ? length : got;
        position += got === 0 ? length : got;
        this.#options.signal?.throwIfAborted();
      }
      this.#put(tarPadding(size));
    } finally {
      fs.closeSync(fd);
    }
  }

  /** Adds to the current piece, which may become larger than usual by it. */
  #put(bytes: Uint8Array): void {
    if (this.#used + bytes.length > this.#chunk.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#chunk.length * 2, this.#used + bytes.length));
      this.#chunk.copy(larger, 0, 0, this.#used);
      this.#chunk = larger;
    }
    this.#chunk.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #take(): Buffer {
    const piece = this.#chunk.subarray(0, this.#used);
    this.#chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    this.#used = 0;
    return piece;
  }
}

/** Whiteouts are the same wherever and whenever they are made. */
function emptyFile(name: ByteString): TarEntry {
  return tarEntry('file', '', { name, mode: 0 });
}

function reopen(directory: number): number {
  return fs.openSync(`/proc/self/fd/${directory}/.`, O_RDONLY | O_DIRECTORY);
}

function describeError(error: unknown, path: ByteString): LayerStoreError {
  if (error instanceof LayerStoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new LayerStoreError('IO_ERROR', `cannot read ${printable(path)}: ${message}`, {
    cause: error,
    entry: path,
  });
}
