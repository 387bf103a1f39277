/** Owner, mode, extended attributes and times of what was unpacked, in the order in which they do not undo each other. */
import * as fs from 'node:fs';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs, NewFile } from '../fs.ts';
import { printable, type ByteString, type TarEntry } from '../tar/entry.ts';
import { toHost } from './id-map.ts';
import { fsName, join, type Directory } from './directory-tree.ts';
import type { FullPolicy, SkippedItem } from './policy.ts';
import { isLayerXattr } from './xattrs.ts';

const MAX_REPORTED = 1000;
/** From `<sys/stat.h>`: what is made in such a directory gets its group. */
const S_ISGID = 0o2000;

interface Owner {
  uid: number;
  gid: number;
}

/** Sets metadata as a policy says; what could not be set goes to `skipped`. */
export class MetadataWriter {
  readonly #fs: LayerFs;
  readonly #policy: FullPolicy;
  readonly #skipped: SkippedItem[];
  /** Whom everything belongs to that is made here; undefined when that is not known. */
  readonly #first: Owner | undefined;

  /** @param root - the open directory that all is made in */
  constructor(layerFs: LayerFs, policy: FullPolicy, skipped: SkippedItem[], root: number) {
    this.#fs = layerFs;
    this.#policy = policy;
    this.#skipped = skipped;
    // into other trees than a layer's own, owners may come from directories that are there
    this.#first = policy.whiteouts === 'overlay' ? ownerOfNew(root) : undefined;
  }

  /** Of a file that is still open as `fd`: two calls the shorter. */
  file(fd: number, parent: Directory, name: ByteString, entry: TarEntry): void {
    // the order matters: chown clears setuid and file capabilities
    const owner = this.#owner(entry);
    if (owner !== undefined) fs.fchownSync(fd, owner.uid, owner.gid);
    fs.fchmodSync(fd, this.#mode(entry));
    if (entry.xattrs.size > 0) this.#setXattrs(parent, name, entry);
    this.#fs.utimensat(parent.fd, fsName(name), entry.atimeNs ?? entry.mtimeNs, entry.mtimeNs);
  }

  /** Of a file that has no attributes, and is made with all of it. */
  ofNewFile(entry: TarEntry): NewFile {
    const { mtimeNs, atimeNs = mtimeNs } = entry;
    return { mode: this.#mode(entry), owner: this.#owner(entry), atimeNs, mtimeNs };
  }

  /** Of anything that is neither file nor directory. */
  node(parent: Directory, name: ByteString, entry: TarEntry): void {
    const owner = this.#owner(entry);
    if (owner !== undefined) this.#fs.fchownat(parent.fd, fsName(name), owner.uid, owner.gid);
    if (entry.type !== 'symlink') this.#fs.fchmodat(parent.fd, fsName(name), this.#mode(entry));
    this.#setXattrs(parent, name, entry);
    this.#fs.utimensat(parent.fd, fsName(name), entry.atimeNs ?? entry.mtimeNs, entry.mtimeNs);
  }

  /** Of a directory into which nothing more is written; `entry` is undefined when the archive does not list it. */
  directory(parent: Directory, name: ByteString, entry: TarEntry | undefined, opaque: boolean): void {
    const owner = this.#owner(entry ?? { uid: 0, gid: 0 });
    if (owner !== undefined) this.#fs.fchownat(parent.fd, fsName(name), owner.uid, owner.gid);
    this.#fs.fchmodat(parent.fd, fsName(name), entry === undefined ? 0o755 : this.#mode(entry));
    if (entry !== undefined) this.#setXattrs(parent, name, entry);
    if (opaque && this.#policy.whiteouts === 'overlay') {
      const attribute = `${this.#policy.overlayXattrs}.overlay.opaque`;
      this.#fs.setxattrat(parent.fd, fsName(name), attribute, Buffer.from('y'));
    }
    // outside of layers, a directory that was made on the way is as old as it is
    if (entry === undefined && this.#policy.whiteouts === 'none') return;
    const mtimeNs = entry?.mtimeNs ?? 0n;
    this.#fs.utimensat(parent.fd, fsName(name), entry?.atimeNs ?? mtimeNs, mtimeNs);
  }

  /** Reports or throws that a member, or one of its attributes, cannot be made here. */
  unsupported(path: ByteString, attribute: string | undefined, cause: unknown): void {
    if (this.#policy.unsupported === 'skip') {
      this.#skip({ path, attribute, reason: 'unsupported' });
      return;
    }
    const what = attribute === undefined ? 'make' : `set ${attribute} of`;
    throw new LayerStoreError(
      'UNSUPPORTED',
      `cannot ${what} ${printable(path)} here: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause, entry: path },
    );
  }

  #setXattrs(parent: Directory, name: ByteString, entry: TarEntry): void {
    for (const [attribute, value] of entry.xattrs) {
      const path = join(parent.path, name);
      if (!isLayerXattr(attribute)) {
        this.#skip({ path, attribute, reason: 'policy' });
        continue;
      }
      try {
        this.#fs.setxattrat(parent.fd, fsName(name), attribute, value);
      } catch (error) {
        if (!isUnsupported(error)) throw error;
        if (attribute.startsWith('user.')) this.#skip({ path, attribute, reason: 'unsupported' });
        else this.unsupported(path, attribute, error);
      }
    }
  }

  #skip(item: SkippedItem): void {
    if (this.#skipped.length < MAX_REPORTED) this.#skipped.push(item);
  }

  /** Undefined when it need not be set. */
  #owner(entry: Owner): Owner | undefined {
    const { ownership, idMap } = this.#policy;
    let owner = this.#policy.owner;
    if (owner === undefined) {
      if (ownership !== 'keep') return undefined;
      owner = idMap === undefined ? entry : toHost(idMap, entry);
    }
    return owner.uid === this.#first?.uid && owner.gid === this.#first.gid ? undefined : owner;
  }

  #mode(entry: TarEntry): number {
    return this.#policy.ownership === 'keep' ? entry.mode : entry.mode & 0o1777;
  }
}

/** Whom the files belong to that this process makes in a new directory and those below it; undefined when that depends. */
function ownerOfNew(directory: number): Owner | undefined {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  const stat = fs.fstatSync(directory);
  // otherwise the group may be inherited: setgid, mount option grpid
  const own = stat.uid === uid && stat.gid === gid && (stat.mode & S_ISGID) === 0;
  return own && uid !== undefined && gid !== undefined ? { uid, gid } : undefined;
}

/** Whether `error` says that this process or file system cannot do such a thing at all. */
export function isUnsupported(error: unknown): boolean {
  if (error instanceof LayerStoreError) return error.code === 'UNSUPPORTED';
  const code = systemCode(error);
  return code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP';
}
