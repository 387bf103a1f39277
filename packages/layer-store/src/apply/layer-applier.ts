/** Writes the members of one layer archive below a directory: the part of unpacking that touches the disk. */
import { constants } from 'node:fs';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { parseEntryPath } from '../tar/entry-path.ts';
import { printable, type ByteString, type TarEntry } from '../tar/entry.ts';
import type { TarSink } from '../tar/read.ts';
import { parseWhiteout } from '../tar/whiteout.ts';
import { DirectoryRecords } from './directory-records.ts';
import { DirectoryTree, fsName, isWhiteout, join, type Directory } from './directory-tree.ts';
import { FileWriter } from './file-writer.ts';
import { memberError, occupied } from './member-error.ts';
import { MetadataWriter, isUnsupported } from './metadata.ts';
import { emptyReport, fullPolicy, type ApplyPolicy, type ApplyReport, type FullPolicy } from './policy.ts';
import {
  isInsideWhiteout,
  OverlayMarks,
  Removals,
  type AppliedWhiteout,
  type WhiteoutApplier,
} from './whiteouts.ts';

const { S_IFBLK, S_IFCHR, S_IFIFO } = constants;

/** A {@link TarSink} that unpacks. Call {@link LayerApplier.finish} after the last member, and dispose of it always. */
export class LayerApplier implements TarSink, Disposable {
  readonly #fs: LayerFs;
  readonly #policy: FullPolicy;
  readonly #tree: DirectoryTree;
  readonly #base: readonly ByteString[];
  readonly #metadata: MetadataWriter;
  readonly #directories: DirectoryRecords;
  /** Undefined when the archive has none. */
  readonly #whiteouts: WhiteoutApplier | undefined;
  /** What was made beside directories. */
  #nodes = 0;
  /** Hard links that the layers below have to help with: target by path. */
  readonly #lowerLinks = new Map<ByteString, ByteString>();
  /** Where something stands that is neither file nor directory. */
  readonly #others = new Set<ByteString>();
  readonly #writer: FileWriter;
  readonly #report = emptyReport();

  constructor(layerFs: LayerFs, root: string, policy: ApplyPolicy = {}) {
    this.#fs = layerFs;
    this.#policy = fullPolicy(policy);
    this.#base = this.#policy.base === '' ? [] : parseEntryPath(this.#policy.base);
    this.#tree = new DirectoryTree(layerFs, root, {
      walk: () => this.#writer.settle(),
      implied: (path, replacedWhiteout) => {
        this.#directories.set(path, undefined, replacedWhiteout);
        this.#whiteouts?.markWritten(path);
      },
    });
    this.#metadata = new MetadataWriter(layerFs, this.#policy, this.#report.skipped, this.#tree.root.fd);
    // of a layer's own directory it is known what is in it
    const queue = this.#policy.whiteouts === 'overlay' ? layerFs.fileQueue?.() : undefined;
    this.#writer = new FileWriter(layerFs, this.#metadata, queue, (parent, name, make) =>
      this.#replacing(parent, name, make),
    );
    this.#directories = new DirectoryRecords(this.#tree, this.#metadata);
    if (this.#policy.whiteouts === 'overlay') {
      this.#whiteouts = new OverlayMarks(layerFs, this.#tree, this.#directories);
      // of what was there before, the root is somebody else's until a member says otherwise
      this.#directories.set('', undefined, false);
    } else if (this.#policy.whiteouts === 'remove') {
      this.#whiteouts = new Removals(this.#tree, (parent, name) => this.#remove(parent, name));
    }
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
      throw memberError(error, entry.name);
    }
  }

  data(bytes: Uint8Array, position: number): void {
    this.#writer.data(bytes, position);
  }

  entryEnd(): void {
    this.#writer.end();
  }

  /** Gives directories their owners, modes, attributes and times, and says what was done. */
  finish(): ApplyReport {
    this.#writer.settle();
    this.#report.impliedDirectories.push(...this.#directories.finish());
    for (const [path, target] of this.#lowerLinks) this.#report.lowerLinks.push({ path, target });
    this.#report.inodes = this.#nodes + this.#directories.size;
    return this.#report;
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]();
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
      if (this.#whiteouts === undefined) return;
      this.#directories.set('', entry, this.#directories.isOpaque(''));
      return;
    }
    if (this.#whiteouts === undefined) {
      this.#member(this.#tree.open([...this.#base, ...components], true), name, entry);
      return;
    }
    if (isInsideWhiteout(components, entry.name)) return;
    const whiteout = parseWhiteout(name);
    if (whiteout?.kind === 'ignored') return;
    const parent = this.#tree.open([...this.#base, ...components], true);
    if (whiteout !== undefined) this.#whiteout(this.#whiteouts, parent, whiteout);
    else if (entry.type === 'character-device' && entry.devMajor === 0 && entry.devMinor === 0) {
      // what overlay itself takes for a whiteout, so it is treated as one
      this.#whiteout(this.#whiteouts, parent, { kind: 'whiteout', name });
    } else this.#member(parent, name, entry);
  }

  #whiteout(whiteouts: WhiteoutApplier, parent: Directory, whiteout: AppliedWhiteout): void {
    this.#writer.settle();
    whiteouts.apply(parent, whiteout);
    if (whiteout.kind === 'whiteout') this.#others.add(join(parent.path, whiteout.name));
  }

  #member(parent: Directory, name: ByteString, entry: TarEntry): void {
    const path = join(parent.path, name);
    if (this.#lowerLinks.size > 0) this.#lowerLinks.delete(path);
    const isFile = entry.type === 'file';
    const isOccupied = this.#directories.has(path) || this.#others.has(path);
    if (isFile ? isOccupied : this.#writer.isPending(path)) this.#writer.settle();
    if (isFile) this.#writer.begin(parent, name, entry, isOccupied);
    else this.#create(parent, name, entry);
    if (entry.type !== 'directory' && entry.type !== 'hardlink') this.#nodes += 1;
    if (!isFile && entry.type !== 'directory') this.#others.add(path);
    this.#whiteouts?.markWritten(path);
  }

  /** Makes what is no file. */
  #create(parent: Directory, name: ByteString, entry: TarEntry): void {
    switch (entry.type) {
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

  #createDirectory(parent: Directory, name: ByteString, entry: TarEntry): void {
    const path = join(parent.path, name);
    let opaque = false;
    try {
      this.#fs.mkdirat(parent.fd, fsName(name), 0o700);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      const stat = this.#tree.stat(parent, name);
      if (stat?.isDirectory() === true) opaque = this.#directories.isOpaque(path);
      else {
        if (this.#policy.replace === 'same-kind') throw occupied(path, 'non-directory', 'directory');
        // a directory in place of a removed one must not show what that held
        opaque = stat !== undefined && isWhiteout(stat);
        this.#remove(parent, name);
        this.#fs.mkdirat(parent.fd, fsName(name), 0o700);
      }
    }
    this.#directories.set(path, entry, opaque);
  }

  #createHardLink(parent: Directory, name: ByteString, entry: TarEntry): void {
    const target = parseEntryPath(entry.linkName);
    const targetName = target.pop();
    if (targetName === undefined) {
      throw new LayerStoreError('UNSAFE_ENTRY', `${printable(entry.name)} is a hard link to the root`, {
        entry: entry.name,
      });
    }
    this.#writer.settle();
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
    // also those below it
    this.#writer.settle();
    const removed = this.#tree.remove(parent, name);
    if (removed?.isDirectory() === true) this.#directories.markStale();
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
}
