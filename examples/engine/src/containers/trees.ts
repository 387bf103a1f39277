/** File trees of containers as archives: the seam behind `cp`, `export` and `diff`. */
import { posix } from 'node:path';
import type { TarEntry, TarSink } from '@tare/layer-store';
import type { Mount } from '@tare/layer-store/snapshot';

import type { IdMaps } from './user-namespaces.ts';

/** What is known of one file. */
export interface FileStat {
  /** As st_mode: type and permission bits. */
  mode: number;
  size: number;
  mtimeNs: bigint;
  /** Target of a symbolic link. */
  linkName?: string;
}

/** Files that lie in no directory of this machine: of an archive that was not unpacked. Paths as in {@link Trees}. */
export interface FileTree {
  stat(path: string): FileStat;
  names(path: string): string[];
  read(path: string, bytes: number): Buffer;
  stream(path: string): AsyncIterable<Uint8Array>;
  /**
   * What is at `path`: of a directory everything below it, parents first, names sorted; of anything else itself, as `''`.
   * Names in the entries are as archives have them.
   */
  members(path: string): Iterable<FileMember>;
}

/** One file of a {@link FileTree}. */
export interface FileMember {
  /** Its name is the path below what was asked for, without a slash at the end. */
  entry: TarEntry;
  /** The same for all names of one file: its hard links. */
  inode: object;
  /** Of a regular file. */
  content?: FileBytes;
}

/** The content of a file, and what is known of it. */
export interface FileBytes {
  /** sha256, in hexadecimal digits; made when nobody knows it yet. */
  digest(): string | Promise<string>;
  /** Reads `length` bytes at `position` into `buffer`, all of them. */
  read(buffer: Uint8Array, offset: number, length: number, position: number): void;
}

/** Where files are looked for: a directory of this machine with everything below it, or files that lie in none. */
export type TreeRoot = string | FileTree;

/** What a part of an archive looks like, whatever it was. */
export interface TreeLook {
  owner?: { uid: number; gid: number };
  /** In nanoseconds. */
  mtimeNs?: bigint | undefined;
}

/** One part of an archive. Names have no slash at the begin. */
export type TreePart = TreeLook &
  (
    | { kind: 'directory'; name: string; mode?: number | undefined }
    | { kind: 'file'; name: string; content: Uint8Array; mode?: number | undefined }
    /**
     * What is at `path` of `root`, links followed inside of it: a file becomes `name`; a directory's content goes below
     * `name`, which is not listed itself.
     */
    | {
        kind: 'tree';
        root: TreeRoot;
        path: string;
        name: string;
        /** Permission bits in place of those that files and directories have. */
        modeOf?: ((mode: number, isDirectory: boolean) => number) | undefined;
        /** Left out when true, with everything below; gets the path in the archive, without a slash at the begin. */
        exclude?: ((path: string, isDirectory: boolean) => boolean) | undefined;
      }
  );

/** How the archive of a layer is made. */
export interface LayerOptions {
  /** A piece is valid until the next is asked for: that spares the garbage collector all of it. Default false. */
  reusePieces?: boolean;
  /** Gets every member as well, as a reader of the archive would give it. */
  members?: TarSink;
}

/** Everything an archive's maker or taker needs of the kernel; `adapters.ts` puts it together from the packages. */
export interface Trees {
  /**
   * What is at `path` with `root` as `/`; nothing leads out of it. A final symbolic link is not followed, unless the
   * path ends with a slash or dot. Throws errno errors.
   */
  stat(root: TreeRoot, path: string): FileStat;
  /** Names in a directory of `root`, in no order. Throws errno errors. */
  names(root: TreeRoot, path: string): string[];
  /** The first bytes of a regular file in `root`, at most `bytes`. */
  read(root: TreeRoot, path: string, bytes: number): Buffer;
  /** A regular file in `root`. */
  stream(root: TreeRoot, path: string): AsyncIterable<Uint8Array>;
  /**
   * An archive of what is at `path` in `root`, named `as`: of a directory with everything below it, of a symbolic link
   * itself. `as: '.'` gives the content of a directory by bare names.
   *
   * @param options.oneFileSystem - mount points come empty
   * @param options.ids - owners come as those ids in the container
   */
  pack(
    root: string,
    path: string,
    as: string,
    options: { oneFileSystem?: boolean; ids?: IdMaps | undefined; signal: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  /**
   * Unpacks an archive (plain, gzip, zstd, xz or bzip2) into the directory `path` of `root`.
   *
   * @param options.owner - in place of the archive's owners; an id of the host
   * @param options.ids - the root is that of a user namespace, and owners are meant inside of it
   * @param options.sameKind - a directory is never replaced by something else, nor the other way round
   */
  extract(
    archive: AsyncIterable<Uint8Array>,
    root: string,
    path: string,
    options: {
      owner?: { uid: number; gid: number } | undefined;
      ids?: IdMaps | undefined;
      sameKind: boolean;
      signal: AbortSignal;
    },
  ): Promise<void>;
  /** One archive of several things: the layer that a COPY makes. */
  layer(parts: readonly TreePart[], signal: AbortSignal, options?: LayerOptions): AsyncIterable<Uint8Array>;
  /** A text that says the same as {@link Trees.layer}, but for times, with digests for content. */
  summary(parts: readonly TreePart[], signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Mounts at an empty directory, until it is disposed of. */
  mount(mounts: readonly Mount[], directory: string): Disposable;
  /** Unmounts what a crash left at a directory; nothing there is fine. */
  unmount(directory: string): void;
  /** Opens mounts without making them visible to anybody; `path` leads into them until it is disposed of. */
  open(mounts: readonly Mount[]): { path: string } & Disposable;
}

/** The kernel's own limit on links in one lookup. */
const MAX_LINKS = 40;

/** The path behind `path` when every link on the way is followed; what does not exist stays as it is written. */
export function followLinks(trees: Pick<Trees, 'stat'>, root: TreeRoot, path: string): string {
  let pending = path.split('/').filter(isName);
  let found = '/';
  for (let links = 0; pending.length > 0;) {
    const [name, ...rest] = pending as [string, ...string[]];
    pending = rest;
    const next = posix.join(found, name);
    const target = name === '..' ? undefined : linkAt(trees, root, next);
    if (target === undefined || links >= MAX_LINKS) {
      found = next;
      continue;
    }
    links += 1;
    if (target.startsWith('/')) found = '/';
    pending = [...target.split('/').filter(isName), ...rest];
  }
  return found;
}

function isName(part: string): boolean {
  return part !== '' && part !== '.';
}

function linkAt(trees: Pick<Trees, 'stat'>, root: TreeRoot, path: string): string | undefined {
  try {
    return trees.stat(root, path).linkName;
  } catch {
    // where nothing is, nothing is a link
    return undefined;
  }
}
