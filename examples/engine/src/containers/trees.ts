/** File trees of containers as archives: the seam behind `cp`, `export` and `diff`. */
import type { Mount } from '@tare/layer-store/snapshot';

/** What is known of one file. */
export interface FileStat {
  /** As st_mode: type and permission bits. */
  mode: number;
  size: number;
  mtimeNs: bigint;
  /** Target of a symbolic link. */
  linkName?: string;
}

/** Everything an archive's maker or taker needs of the kernel; `adapters.ts` puts it together from the packages. */
export interface Trees {
  /**
   * What is at `path` with `root` as `/`; nothing leads out of it. A final symbolic link is not followed, unless the
   * path ends with a slash or dot. Throws errno errors.
   */
  stat(root: string, path: string): FileStat;
  /**
   * An archive of what is at `path` in `root`, named `as`: of a directory with everything below it, of a symbolic link
   * itself. `as: '.'` gives the content of a directory by bare names.
   *
   * @param options.oneFileSystem - mount points come empty
   */
  pack(
    root: string,
    path: string,
    as: string,
    options: { oneFileSystem?: boolean; signal: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  /**
   * Unpacks an archive (plain or compressed) into the directory `path` of `root`.
   *
   * @param options.owner - in place of the archive's owners
   * @param options.sameKind - a directory is never replaced by something else, nor the other way round
   */
  extract(
    archive: AsyncIterable<Uint8Array>,
    root: string,
    path: string,
    options: {
      owner?: { uid: number; gid: number } | undefined;
      sameKind: boolean;
      signal: AbortSignal;
    },
  ): Promise<void>;
  /** Opens mounts without making them visible to anybody; `path` leads into them until it is disposed of. */
  open(mounts: readonly Mount[]): { path: string } & Disposable;
}
