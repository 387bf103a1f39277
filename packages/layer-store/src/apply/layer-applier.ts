/** Writes the members of one layer archive below a directory: the part of unpacking that touches the disk. */
import * as fs from 'node:fs';
import { LayerStoreError, systemCode } from '../errors.ts';
import { RESOLVE, type LayerFs } from '../fs.ts';
import { parseEntryPath } from '../tar/entry-path.ts';
import { printable, type ByteString, type TarEntry } from '../tar/entry.ts';
import type { TarSink } from '../tar/read.ts';
import { parseWhiteout, type Whiteout } from '../tar/whiteout.ts';
import { DirectoryTree, fsName, isWhiteout, join, type Directory } from './directory-tree.ts';
import { MetadataWriter, isUnsupported } from './metadata.ts';
import type { ApplyPolicy, ApplyReport, FullPolicy } from './policy.ts';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY, S_IFBLK, S_IFCHR, S_IFIFO } = fs.constants;

/** What to give a directory once nothing more is written into it. */
interface DirectoryRecord {
  /** Undefined for a directory that no member lists. */
  entry: TarEntry | undefined;
  opaque: boolean;
}

/** A {@link TarSink} that unpacks. Call {@link LayerApplier.finish} after the last member, and dispose of it always. */
export class LayerApplier implements TarSink, Disposable {
  readonly #fs: LayerFs;
  readonly #policy: FullPolicy;
  readonly #tree: DirectoryTree;
  readonly #base: readonly ByteString[];
  readonly #metadata: MetadataWriter;
  /** By path, in order of creation. Modes and times come last: writing inside changes or needs them. */
  readonly #directories = new Map<ByteString, DirectoryRecord>();
  /** What was made beside directories. */
  #nodes = 0;
  /** Whether some of them may have been removed or replaced since. */
  #staleDirectories = false;
  /** With `whiteouts: 'remove'`, what this layer wrote: its own files are not for its whiteouts to remove. */
  readonly #written: Set<ByteString> | undefined;
  /** Hard links that the layers below have to help with: target by path. */
  readonly #lowerLinks = new Map<ByteString, ByteString>();
  #file: { fd: number; parent: Directory; name: ByteString; entry: TarEntry; end: number } | undefined;
  readonly #report: ApplyReport = {
    entries: 0,
    bytes: 0,
    inodes: 0,
    skipped: [],
    impliedDirectories: [],
    lowerLinks: [],
  };

  constructor(layerFs: LayerFs, root: string, policy: ApplyPolicy = {}) {
    this.#fs = layerFs;
    this.#policy = {
      whiteouts: policy.whiteouts ?? 'overlay',
      overlayXattrs: policy.overlayXattrs ?? 'trusted',
      ownership: policy.ownership ?? 'keep',
      owner: policy.owner,
      idMap: policy.idMap,
      replace: policy.replace ?? 'any',
      base: policy.base ?? '',
      unsupported: policy.unsupported ?? 'fail',
      lowerLinks: policy.lowerLinks ?? 'refuse',
      maxEntries: policy.maxEntries ?? 2_000_000,
      maxBytes: policy.maxBytes ?? 64 * 1024 ** 3,
    };
    this.#base = this.#policy.base === '' ? [] : parseEntryPath(this.#policy.base);
    this.#tree = new DirectoryTree(layerFs, root, {
      implied: (path, replacedWhiteout) => {
        this.#directories.set(path, { entry: undefined, opaque: replacedWhiteout });
        this.#markWritten(path);
      },
    });
    this.#metadata = new MetadataWriter(layerFs, this.#policy, this.#report.skipped, this.#tree.root.fd);
    this.#written = this.#policy.whiteouts === 'remove' ? new Set() : undefined;
    // of what was there before, the root is somebody else's until a member says otherwise
    if (this.#policy.whiteouts === 'overlay') this.#directories.set('', { entry: undefined, opaque: false });
  }

  entry(entry: TarEntry): void {
    this.#tree.release();
    this.#report.entries += 1;
    if (this.#report.entries > this.#policy.maxEntries) {
      throw new LayerStoreError('LIMIT_EXCEEDED', `a layer of more than ${this.#policy.maxEntries} members`);
    }
    this.#count(entry);
    try {
      this.#entry(entry);
    } catch (error) {
      throw describe(error, entry.name);
    }
  }

  data(bytes: Uint8Array, position: number): void {
    const file = this.#file;
    // content of a whiteout: there should be none, and nobody wants it
    if (file === undefined) return;
    try {
      let at = 0;
      while (at < bytes.length) at += fs.writeSync(file.fd, bytes, at, bytes.length - at, position + at);
    } catch (error) {
      throw describe(error, file.entry.name);
    }
    file.end = position + bytes.length;
  }

  entryEnd(): void {
    const file = this.#file;
    if (file === undefined) return;
    const { fd, parent, name, entry } = file;
    try {
      if (file.end < entry.size) fs.ftruncateSync(fd, entry.size);
      this.#metadata.file(fd, parent, name, entry);
    } catch (error) {
      throw describe(error, entry.name);
    } finally {
      this.#file = undefined;
      fs.closeSync(fd);
    }
  }

  /** Gives directories their owners, modes, attributes and times, and says what was done. */
  finish(): ApplyReport {
    // children first: a mode may forbid this process to enter
    for (const [path, record] of [...this.#directories].reverse()) {
      this.#tree.release();
      try {
        if (this.#staleDirectories && !this.#isDirectory(path)) this.#directories.delete(path);
        else this.#finishDirectory(path, record);
      } catch (error) {
        throw describe(error, path);
      }
    }
    for (const [path, { entry, opaque }] of this.#directories) {
      if (entry === undefined && !opaque) this.#report.impliedDirectories.push(path);
    }
    for (const [path, target] of this.#lowerLinks) this.#report.lowerLinks.push({ path, target });
    this.#report.inodes = this.#nodes + this.#directories.size;
    return this.#report;
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) fs.closeSync(this.#file.fd);
    this.#file = undefined;
    this.#tree[Symbol.dispose]();
  }

  #entry(entry: TarEntry): void {
    const components = parseEntryPath(entry.name);
    const name = components.pop();
    if (name === undefined) {
      if (entry.type !== 'directory') {
        throw new LayerStoreError(
          'UNSAFE_ENTRY',
          `${printable(entry.name)} would replace the root by a ${entry.type}`,
          { entry: entry.name },
        );
      }
      // the place that the caller named is the caller's
      if (this.#policy.whiteouts === 'none') return;
      this.#directories.set('', { entry, opaque: this.#directories.get('')?.opaque ?? false });
      return;
    }
    if (this.#policy.whiteouts === 'none') {
      this.#member(this.#tree.open([...this.#base, ...components], true), name, entry);
      return;
    }
    if (this.#isInsideWhiteout(components, entry.name)) return;
    const whiteout = parseWhiteout(name);
    if (whiteout?.kind === 'ignored') return;
    const parent = this.#tree.open([...this.#base, ...components], true);
    if (whiteout !== undefined) this.#whiteout(parent, whiteout);
    else if (entry.type === 'character-device' && entry.devMajor === 0 && entry.devMinor === 0) {
      // what overlay itself takes for a whiteout, so it is treated as one
      this.#whiteout(parent, { kind: 'whiteout', name });
    } else this.#member(parent, name, entry);
  }

  #member(parent: Directory, name: ByteString, entry: TarEntry): void {
    if (this.#lowerLinks.size > 0) this.#lowerLinks.delete(join(parent.path, name));
    this.#create(parent, name, entry);
    if (entry.type !== 'directory' && entry.type !== 'hardlink') this.#nodes += 1;
    this.#markWritten(join(parent.path, name));
  }

  /** aufs keeps directories of its own (`.wh..wh.plnk/`), which are skipped whole; other whiteouts hold nothing. */
  #isInsideWhiteout(components: readonly ByteString[], path: ByteString): boolean {
    for (const component of components) {
      const whiteout = parseWhiteout(component);
      if (whiteout?.kind === 'ignored') return true;
      if (whiteout !== undefined) {
        throw new LayerStoreError('UNSAFE_ENTRY', `${printable(path)} is inside a whiteout`, { entry: path });
      }
    }
    return false;
  }

  #create(parent: Directory, name: ByteString, entry: TarEntry): void {
    switch (entry.type) {
      case 'file':
        this.#createFile(parent, name, entry);
        return;
      case 'directory':
        this.#createDirectory(parent, name, entry);
        return;
      case 'hardlink':
        this.#createHardLink(parent, name, entry);
        return;
      case 'symlink':
        this.#replacing(parent, name, () =>
          this.#fs.symlinkat(fsName(entry.linkName), parent.fd, fsName(name)),
        );
        break;
      default:
        if (!this.#createNode(parent, name, entry)) return;
    }
    this.#metadata.node(parent, name, entry);
  }

  #createFile(parent: Directory, name: ByteString, entry: TarEntry): void {
    const fd = this.#replacing(parent, name, () =>
      this.#fs.openat2(parent.fd, fsName(name), {
        flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        mode: 0o600,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      }),
    );
    this.#file = { fd, parent, name, entry, end: 0 };
  }

  #createDirectory(parent: Directory, name: ByteString, entry: TarEntry): void {
    const path = join(parent.path, name);
    let opaque = false;
    try {
      this.#fs.mkdirat(parent.fd, fsName(name), 0o700);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      const stat = this.#tree.stat(parent, name);
      if (stat?.isDirectory() === true) opaque = this.#directories.get(path)?.opaque ?? false;
      else {
        if (this.#policy.replace === 'same-kind') throw occupied(path, 'non-directory', 'directory');
        // a directory in place of a removed one must not show what that held
        opaque = stat !== undefined && isWhiteout(stat);
        this.#remove(parent, name);
        this.#fs.mkdirat(parent.fd, fsName(name), 0o700);
      }
    }
    this.#directories.set(path, { entry, opaque });
  }

  #createHardLink(parent: Directory, name: ByteString, entry: TarEntry): void {
    const target = parseEntryPath(entry.linkName);
    const targetName = target.pop();
    if (targetName === undefined) {
      throw new LayerStoreError('UNSAFE_ENTRY', `${printable(entry.name)} is a hard link to the root`, {
        entry: entry.name,
      });
    }
    const targetParent = this.#find([...this.#base, ...target]);
    const stat = targetParent === undefined ? undefined : this.#tree.stat(targetParent, targetName);
    if (stat === undefined && this.#policy.lowerLinks === 'report') {
      this.#remove(parent, name);
      this.#lowerLinks.set(join(parent.path, name), join(target.join('/'), targetName));
      return;
    }
    if (targetParent === undefined || stat === undefined || stat.isDirectory() || isWhiteout(stat)) {
      throw new LayerStoreError(
        'INVALID_TAR',
        `${printable(entry.name)} is a hard link to ${printable(entry.linkName)}, which is no file of this layer`,
        { entry: entry.name },
      );
    }
    const existing = this.#tree.stat(parent, name);
    // a link to itself: removing the name first would remove the file
    if (existing !== undefined && existing.ino === stat.ino && existing.dev === stat.dev) return;
    if (existing !== undefined) this.#makeRoom(parent, name);
    // owner, mode and times are those of the target: setting them again would strip its capabilities
    this.#fs.linkat(targetParent.fd, fsName(targetName), parent.fd, fsName(name));
  }

  /** Makes a device or fifo; false when it was skipped. */
  #createNode(parent: Directory, name: ByteString, entry: TarEntry): boolean {
    const type = entry.type === 'fifo' ? S_IFIFO : entry.type === 'character-device' ? S_IFCHR : S_IFBLK;
    // 12 and 20 bits are what Linux keeps of a device number
    if (entry.devMajor > 0xfff || entry.devMinor > 0xfffff) {
      throw new LayerStoreError(
        'INVALID_TAR',
        `${printable(entry.name)} has no possible device number: ${entry.devMajor}:${entry.devMinor}`,
        { entry: entry.name },
      );
    }
    try {
      this.#replacing(parent, name, () =>
        this.#fs.mknodat(parent.fd, fsName(name), type | 0o600, entry.devMajor, entry.devMinor),
      );
      return true;
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      this.#metadata.unsupported(join(parent.path, name), undefined, error);
      return false;
    }
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

  #finishDirectory(path: ByteString, { entry, opaque }: DirectoryRecord): void {
    const components = path === '' ? [] : path.split('/');
    const name = components.pop() ?? '.';
    this.#metadata.directory(this.#tree.open(components, false), name, entry, opaque);
  }

  #whiteout(parent: Directory, whiteout: Exclude<Whiteout, { kind: 'ignored' }>): void {
    if (whiteout.kind === 'opaque') {
      if (this.#written !== undefined) this.#removeLower(parent);
      else {
        const record = this.#directories.get(parent.path);
        // an entry of the archive, or made just now as its parent: there is a record for every directory
        this.#directories.set(parent.path, { entry: record?.entry, opaque: true });
      }
      return;
    }
    const path = join(parent.path, whiteout.name);
    if (this.#written !== undefined) {
      if (!this.#written.has(path)) this.#remove(parent, whiteout.name);
      return;
    }
    const stat = this.#tree.stat(parent, whiteout.name);
    if (stat === undefined) {
      this.#fs.mknodat(parent.fd, fsName(whiteout.name), S_IFCHR | 0o600, 0, 0);
    } else if (stat.isDirectory()) {
      // the layer has a directory of its own here: the whiteout means what is below it
      this.#directories.set(path, { entry: this.#directories.get(path)?.entry, opaque: true });
    }
  }

  /** Empties a directory of everything that this layer did not write. */
  #removeLower(directory: Directory): void {
    for (const name of this.#tree.names(directory)) {
      if (!this.#written!.has(join(directory.path, name))) this.#remove(directory, name);
      else if (this.#tree.stat(directory, name)?.isDirectory() === true) {
        const child = this.#tree.openChild(directory, name);
        try {
          this.#removeLower(child);
        } finally {
          fs.closeSync(child.fd);
        }
      }
    }
  }

  /** Runs `make`, which must fail with EEXIST rather than replace; then what is there makes room. The last one wins. */
  #replacing<T>(parent: Directory, name: ByteString, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      this.#makeRoom(parent, name);
      return make();
    }
  }

  /** For something that is no directory. */
  #makeRoom(parent: Directory, name: ByteString): void {
    if (this.#policy.replace === 'same-kind' && this.#tree.stat(parent, name)?.isDirectory() === true) {
      throw occupied(join(parent.path, name), 'directory', 'non-directory');
    }
    this.#remove(parent, name);
  }

  #remove(parent: Directory, name: ByteString): void {
    const removed = this.#tree.remove(parent, name);
    this.#staleDirectories ||= removed?.isDirectory() === true;
  }

  #find(components: readonly ByteString[]): Directory | undefined {
    try {
      return this.#tree.open(components, false);
    } catch (error) {
      if (error instanceof LayerStoreError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  #count(entry: TarEntry): void {
    this.#report.bytes += entry.size;
    if (this.#report.bytes > this.#policy.maxBytes) {
      throw new LayerStoreError('LIMIT_EXCEEDED', `a layer of more than ${this.#policy.maxBytes} bytes`, {
        entry: entry.name,
      });
    }
  }

  #markWritten(path: ByteString): void {
    if (this.#written === undefined) return;
    let at = path;
    while (at !== '' && !this.#written.has(at)) {
      this.#written.add(at);
      at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
    }
  }
}

function occupied(path: ByteString, what: string, by: string): LayerStoreError {
  const name = printable(path);
  return new LayerStoreError('ALREADY_EXISTS', `cannot overwrite ${what} ${name} with ${by} ${name}`, {
    entry: path,
  });
}

/** System errors get the name of the member they are about. */
function describe(error: unknown, path: ByteString): LayerStoreError {
  if (error instanceof LayerStoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new LayerStoreError('IO_ERROR', `cannot unpack ${printable(path)}: ${message}`, {
    cause: error,
    entry: path,
  });
}
