/**
 * Snapshots: mountable stacks of layers.
 *
 * Words: a *committed* snapshot is immutable and named by the chainID of its layers; an *active* one is a writable
 * layer on top of a committed parent, named by a key of the caller's (a container id); a *view* is active but
 * read-only. `parent` is always the name of a committed snapshot, or undefined for the empty one.
 *
 * Life: an unpacked image is a chain of committed snapshots; `prepare` puts a writable layer on it; whoever runs the
 * container mounts what `mounts` says; `remove` releases it. Several active snapshots share their parents.
 */
import type { ByteString } from '../tar/entry.ts';
import type { Change } from './changes.ts';
import type { Mount } from './mount.ts';

export type SnapshotKind = 'committed' | 'active' | 'view';

/** What a snapshotter knows of one snapshot. */
export interface SnapshotInfo {
  /** The key of an active snapshot or view, the chainID of a committed one. */
  name: string;
  kind: SnapshotKind;
  parent: string | undefined;
  createdAt: Date;
}

/** Disk use of one snapshot alone, its parents not counted. */
export interface SnapshotUsage {
  sizeBytes: number;
  inodes: number;
}

export interface SnapshotOptions {
  signal?: AbortSignal;
}

/** Options of {@link Snapshotter.mounts}. */
export interface MountOptions extends SnapshotOptions {
  /** Only to look at it, without a trace; safe beside its ordinary mount. Default false. */
  readOnly?: boolean;
  /**
   * Path of a user namespace: owners are shown as its maps have them, while the files stay as they are, so that one unpacked
   * image does for any number of maps. Of a view, or with `readOnly`; the mount has the option `X-mount.idmap=<path>` of
   * mount(8) then.
   */
  userNamespace?: string;
}

/** Options of {@link Snapshotter.diff}. */
export interface DiffOptions extends SnapshotOptions {
  /** Paths, as {@link Change} has them, that are left out with everything below. */
  without?: ReadonlySet<ByteString>;
  /** Later times of files become this one, in nanoseconds, as SOURCE_DATE_EPOCH wants it. Default: none do. */
  maxMtimeNs?: bigint | undefined;
}

/** Keeps snapshots. Every change is atomic and survives a crash: a snapshot is either there whole or not at all. */
export interface Snapshotter {
  /**
   * Makes a writable layer on `parent` and returns how to mount it.
   *
   * @throws {LayerStoreError} `ALREADY_EXISTS` for a taken key, `NOT_FOUND` for an unknown parent
   */
  prepare(key: string, parent: string | undefined, options?: SnapshotOptions): Promise<Mount[]>;

  /** Makes a read-only view of `parent` and returns how to mount it. Errors as {@link Snapshotter.prepare}. */
  view(key: string, parent: string | undefined, options?: SnapshotOptions): Promise<Mount[]>;

  /**
   * How to mount an active snapshot or view.
   *
   * @throws {LayerStoreError} `NOT_FOUND`; `INVALID_ARGUMENT` for a `userNamespace` of what can be written to
   */
  mounts(key: string, options?: MountOptions): Promise<Mount[]>;

  /** Freezes an active snapshot under `name`; the key is free again. @throws {LayerStoreError} `NOT_FOUND`, `ALREADY_EXISTS` */
  commit(name: string, key: string, options?: SnapshotOptions): Promise<void>;

  /**
   * Removes a snapshot and what it wrote. The caller has unmounted it. Removing what is not there does nothing.
   *
   * @throws {LayerStoreError} `IN_USE` when another snapshot has it as its parent
   */
  remove(name: string, options?: SnapshotOptions): Promise<void>;

  /** The record of one snapshot, or undefined. */
  stat(name: string, options?: SnapshotOptions): Promise<SnapshotInfo | undefined>;

  /** Every snapshot, parents before children. */
  list(options?: SnapshotOptions): AsyncIterable<SnapshotInfo>;

  /**
   * What a snapshot changes in its parent, sorted by path; of an active one as it is at this moment.
   *
   * @throws {LayerStoreError} `NOT_FOUND`
   */
  changes(name: string, options?: SnapshotOptions): AsyncIterable<Change>;

  /**
   * The layer that a snapshot is on its parent, as an uncompressed archive; the same snapshot always gives the same
   * bytes. Of an active one that is being written to, what is read may not fit together: pause the writers.
   *
   * @throws {LayerStoreError} `NOT_FOUND`; `UNSAFE_ENTRY` for a file whose name would be a whiteout in an archive
   * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
   */
  diff(name: string, options?: DiffOptions): AsyncIterable<Uint8Array>;

  /**
   * The whole file system that a snapshot shows, parents and all, as an uncompressed archive: what `docker export` gives.
   * Nothing is mounted. The root directory comes first, as `./`; otherwise as {@link Snapshotter.diff}.
   *
   * @throws {LayerStoreError} `NOT_FOUND`
   */
  flatten(name: string, options?: SnapshotOptions): AsyncIterable<Uint8Array>;

  /** What one snapshot takes on disk. @throws {LayerStoreError} `NOT_FOUND` */
  usage(name: string, options?: SnapshotOptions): Promise<SnapshotUsage>;
}
