/**
 * The file-system calls that unpacking needs and `node:fs` lacks.
 *
 * Declared here, implemented by `@tare/runtime-native/syscalls` and injected by whoever composes the two: the packages
 * meet in this shape, neither imports the other. All calls are synchronous (unpacking runs in workers), throw an Error
 * with `code`, `errno`, `syscall` and `path`, and take file descriptors as numbers.
 */
export interface LayerFs {
  /**
   * openat2(2). `resolve` is a bit set of {@link RESOLVE}; `path` is relative to `dirfd`. Opens with O_CLOEXEC always.
   * Returns the new descriptor, which the caller closes (`node:fs.closeSync`).
   */
  openat2(
    dirfd: number,
    path: string | Uint8Array,
    options: { flags: number; mode?: number; resolve: number },
  ): number;
  mkdirat(dirfd: number, name: string | Uint8Array, mode: number): void;
  /** mknodat(2): `mode` holds the type bits (S_IFCHR, S_IFBLK, S_IFIFO). */
  mknodat(dirfd: number, name: string | Uint8Array, mode: number, major: number, minor: number): void;
  symlinkat(target: string | Uint8Array, dirfd: number, name: string | Uint8Array): void;
  /** linkat(2) without following `fromName`. */
  linkat(fromDirfd: number, fromName: string | Uint8Array, dirfd: number, name: string | Uint8Array): void;
  /** unlinkat(2); `directory` sets AT_REMOVEDIR. */
  unlinkat(dirfd: number, name: string | Uint8Array, directory: boolean): void;
  /** fchownat(2) with AT_SYMLINK_NOFOLLOW. */
  fchownat(dirfd: number, name: string | Uint8Array, uid: number, gid: number): void;
  /** fchmodat2(2) with AT_SYMLINK_NOFOLLOW; never called for symbolic links. */
  fchmodat(dirfd: number, name: string | Uint8Array, mode: number): void;
  /** utimensat(2) with AT_SYMLINK_NOFOLLOW; times in nanoseconds since the epoch. */
  utimensat(dirfd: number, name: string | Uint8Array, atimeNs: bigint, mtimeNs: bigint): void;
  /** lsetxattr(2) on `name` in `dirfd`, not following a final symbolic link. */
  setxattrat(dirfd: number, name: string | Uint8Array, attribute: string, value: Uint8Array): void;
  /** lgetxattr(2); undefined when the attribute is not there. */
  getxattrat(dirfd: number, name: string | Uint8Array, attribute: string): Uint8Array | undefined;
  /** llistxattr(2). */
  listxattrat(dirfd: number, name: string | Uint8Array): string[];
  /** lremovexattr(2). Optional: without it, a directory that a layer lists keeps attributes that it has below (plain copies only). */
  removexattrat?(dirfd: number, name: string | Uint8Array, attribute: string): void;
  /** syncfs(2). */
  syncfs(fd: number): void;
  /**
   * Optional: asks that every directory made in this one be placed far from the others (FS_TOPDIR_FL of ioctl_iflags(2));
   * false where the file system has no such thing.
   */
  spreadSubdirectories?(fd: number): boolean;
  /**
   * Optional: reads a file whole into the beginning of `into`. Undefined for anything else than a regular file with one name,
   * without extended attributes that layers have, that fits; also when it cannot be read: then it is read in single calls.
   */
  readPlainFile?(
    dirfd: number,
    name: string | Uint8Array,
    resolve: number,
    into: Uint8Array,
  ): PlainFile | undefined;
  /** Optional: makes a file with all that is known of it, where nothing is (`EEXIST`). */
  createFile?(dirfd: number, name: string | Uint8Array, content: Uint8Array, attributes: NewFile): void;
  /** Optional: makes files on a thread of its own, while the caller goes on. */
  fileQueue?(): FileQueue;
  /** Optional: a digest computed on a thread of its own, while the caller goes on; undefined where that cannot be had. */
  hashThread?(algorithm: 'sha256' | 'sha512'): HashThread | undefined;
}

/** A digest in the making. */
export interface HashThread extends Disposable {
  /** Adds bytes, which must stay as they are until the next call has returned. */
  update(chunk: Uint8Array): void;
  /** In hexadecimal digits. */
  digest(): string;
}

/** Files that are being made, one after the other. To dispose of it drops those that are not begun. */
export interface FileQueue extends Disposable {
  /**
   * Takes a file to be made as by {@link LayerFs.createFile}. `content` is copied, and `dirfd` may be closed afterwards.
   * Waits while too much is under way.
   *
   * @returns false after one that could not be made: no more are
   */
  add(dirfd: number, name: string | Uint8Array, content: Uint8Array, attributes: NewFile): boolean;
  /** Waits until all are made. @returns the first that could not be, by its number in the order of `add`, from 0 */
  settle(): { number: number; error: Error } | undefined;
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
  /** Default: who makes it. */
  owner?: { uid: number; gid: number } | undefined;
  atimeNs: bigint;
  mtimeNs: bigint;
}

/** Flags of openat2's `resolve` field, from `<linux/openat2.h>`. */
export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;
