/**
 * File-system and mount calls that `node:fs` lacks. `layerFs` is what `@tare/layer-store` asks for (its `LayerFs`): the
 * two packages do not import each other, their shapes agree.
 *
 * Everything here is synchronous, works in worker threads, and throws an Error with `code`, `errno` (negative, as in
 * `node:fs`), `syscall` and `path`. Names may be raw bytes where they are not UTF-8.
 */
import { load } from '#binding';
import type { Path } from './path.ts';

/** A failed system call, as these functions and `node:fs` throw it. */
export type SystemError = NodeJS.ErrnoException;

/** The current directory as a directory descriptor. */
export const AT_FDCWD = -100;

/** Flags of {@link LayerSyscalls.openat2}'s `resolve`, from `<linux/openat2.h>`. */
export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

/** The calls that unpacking a layer needs. */
export interface LayerSyscalls {
  /** openat2(2), always with O_CLOEXEC. `resolve` is a bit set of {@link RESOLVE}. The caller closes the descriptor. */
  openat2(dirfd: number, path: Path, options: { flags: number; mode?: number; resolve: number }): number;
  /** mkdirat(2). */
  mkdirat(dirfd: number, name: Path, mode: number): void;
  /** mknodat(2); `mode` holds the type bits. */
  mknodat(dirfd: number, name: Path, mode: number, major: number, minor: number): void;
  /** symlinkat(2). */
  symlinkat(target: Path, dirfd: number, name: Path): void;
  /** linkat(2); a symbolic link itself is linked. */
  linkat(fromDirfd: number, fromName: Path, dirfd: number, name: Path): void;
  /** unlinkat(2); `directory` sets AT_REMOVEDIR. */
  unlinkat(dirfd: number, name: Path, directory: boolean): void;
  /** fchownat(2), not following a symbolic link. */
  fchownat(dirfd: number, name: Path, uid: number, gid: number): void;
  /** fchmodat2(2), not following a symbolic link (`ENOTSUP` for one); emulated before Linux 6.6. */
  fchmodat(dirfd: number, name: Path, mode: number): void;
  /** utimensat(2), not following a symbolic link. */
  utimensat(dirfd: number, name: Path, atimeNs: bigint, mtimeNs: bigint): void;
  /** lsetxattr(2). */
  setxattrat(dirfd: number, name: Path, attribute: string, value: Uint8Array): void;
  /** lgetxattr(2); undefined when the attribute is not there. */
  getxattrat(dirfd: number, name: Path, attribute: string): Uint8Array | undefined;
  /** llistxattr(2). */
  listxattrat(dirfd: number, name: Path): string[];
  /** syncfs(2). */
  syncfs(fd: number): void;
  /**
   * Asks that every directory made in this one be placed far from the others, as FS_TOPDIR_FL of ioctl_iflags(2) does on
   * ext4.
   *
   * @returns whether the file system does so
   */
  spreadSubdirectories(fd: number): boolean;
  /**
   * Reads a file whole, into the beginning of `into`. Undefined for anything else than a regular file with one name, without
   * extended attributes (the label of SELinux does not count), that fits; also when it cannot be read. Never follows a
   * link at the end of `name`, and opens nothing but files.
   */
  readPlainFile(dirfd: number, name: Path, resolve: number, into: Uint8Array): PlainFile | undefined;
  /**
   * Makes a file with all that there is to know of it; never in place of something (`EEXIST`). Without `owner` it belongs to
   * who makes it.
   */
  createFile(dirfd: number, name: Path, content: Uint8Array, attributes: NewFile): void;
  /** Files made on a thread of its own. */
  fileQueue(): FileQueue;
  /** A digest computed on a thread of its own; undefined where this Node.js hides its OpenSSL. */
  hashThread(algorithm: 'sha256' | 'sha512'): HashThread | undefined;
}

/** Hashes while the caller makes the next bytes. Dispose of it always. */
export interface HashThread extends Disposable {
  /** Adds bytes, which must stay as they are until the next call has returned: it waits for those before. */
  update(chunk: Uint8Array): void;
  /** The digest of all of them in hexadecimal digits. Nothing can be added any more. */
  digest(): string;
}

/**
 * Makes files one after the other on a thread of its own, while the caller goes on. Dispose of it always: what is not
 * begun then is not made.
 */
export interface FileQueue extends Disposable {
  /**
   * Takes a file to be made as by {@link LayerSyscalls.createFile}, but in place of what is there unless that is a
   * directory. `content` is copied, and `dirfd` may be closed afterwards. Waits while too much is under way.
   *
   * @returns false after one that could not be made: no more are
   */
  add(dirfd: number, name: Path, content: Uint8Array, attributes: NewFile): boolean;
  /** Waits until all are made. @returns the first that could not be, by its number in the order of `add`, from 0 */
  settle(): { number: number; error: SystemError } | undefined;
}

/** What is known of a file that was read whole. */
export interface PlainFile {
  /** With the type bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes in `into`; zeros where the file became shorter while it was read. */
  size: number;
  mtimeNs: bigint;
}

/** What a file is made with. */
export interface NewFile {
  /** Permission bits. */
  mode: number;
  owner?: { uid: number; gid: number } | undefined;
  atimeNs: bigint;
  mtimeNs: bigint;
}

/** Filled by the addon, read before anybody else's turn. */
const facts = new Float64Array(6);

/** {@link LayerSyscalls} of this kernel. */
export const layerFs: LayerSyscalls = {
  openat2: (dirfd, path, options) =>
    load().openat2(dirfd, path, options.flags, options.mode ?? 0, options.resolve),
  mkdirat: (dirfd, name, mode) => load().mkdirat(dirfd, name, mode),
  mknodat: (dirfd, name, mode, major, minor) => load().mknodat(dirfd, name, mode, major, minor),
  symlinkat: (target, dirfd, name) => load().symlinkat(target, dirfd, name),
  linkat: (fromDirfd, fromName, dirfd, name) => load().linkat(fromDirfd, fromName, dirfd, name),
  unlinkat: (dirfd, name, directory) => load().unlinkat(dirfd, name, directory),
  fchownat: (dirfd, name, uid, gid) => load().fchownat(dirfd, name, uid, gid),
  fchmodat: (dirfd, name, mode) => load().fchmodat(dirfd, name, mode),
  utimensat: (dirfd, name, atimeNs, mtimeNs) => load().utimensat(dirfd, name, atimeNs, mtimeNs),
  setxattrat: (dirfd, name, attribute, value) => load().setxattrat(dirfd, name, attribute, value),
  getxattrat: (dirfd, name, attribute) => load().getxattrat(dirfd, name, attribute),
  listxattrat: (dirfd, name) => load().listxattrat(dirfd, name),
  syncfs: (fd) => load().syncfs(fd),
  spreadSubdirectories: (fd) => load().spreadSubdirectories(fd),
  readPlainFile(dirfd, name, resolve, into) {
    if (!load().readPlainFile(dirfd, name, resolve, into, facts)) return undefined;
    const [mode = 0, uid = 0, gid = 0, size = 0, seconds = 0, nanoseconds = 0] = facts;
    return { mode, uid, gid, size, mtimeNs: BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds) };
  },
  createFile: (dirfd, name, content, { mode, owner, atimeNs, mtimeNs }) =>
    load().createFile(dirfd, name, content, mode, owner?.uid ?? -1, owner?.gid ?? -1, atimeNs, mtimeNs),
  fileQueue() {
    const queue = new (load().FileQueue)();
    return {
      add: (dirfd, name, content, { mode, owner, atimeNs, mtimeNs }) =>
        queue.add(dirfd, name, content, mode, owner?.uid ?? -1, owner?.gid ?? -1, atimeNs, mtimeNs),
      settle: () => queue.settle(),
      [Symbol.dispose]: () => queue.close(),
    };
  },
  hashThread(algorithm) {
    if (!load().hasHashThread()) return undefined;
    const thread = new (load().HashThread)(algorithm === 'sha512');
    return {
      update: (chunk) => thread.update(chunk),
      digest: () => thread.digest(),
      [Symbol.dispose]: () => thread.close(),
    };
  },
};

/** flock(2), exclusive: false when somebody else has the lock. It goes with the descriptor. */
export function tryLock(fd: number): boolean {
  return load().tryLock(fd);
}

/**
 * renameat2(2).
 *
 * @param options `noReplace` fails with `EEXIST` instead of replacing; `exchange` swaps the two
 */
export function renameat2(
  fromDirfd: number,
  fromName: Path,
  dirfd: number,
  name: Path,
  options: { noReplace?: boolean; exchange?: boolean } = {},
): void {
  const flags = (options.noReplace ? 1 : 0) | (options.exchange ? 2 : 0);
  load().renameat2(fromDirfd, fromName, dirfd, name, flags);
}

export { mount, mountAt, mountTable, openMount, unmount } from './mounts.ts';
export type { MountPoint } from './mounts.ts';
export type { Path } from './path.ts';
