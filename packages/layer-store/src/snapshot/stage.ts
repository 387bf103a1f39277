/** Optional power of a snapshotter: layers that are made whole on their own, beside each other, and then put in a chain. */
import type { LowerLink } from '../apply/policy.ts';
import type { ByteString } from '../tar/entry.ts';
import type { TarSink } from '../tar/read.ts';
import type { DiffOptions, SnapshotOptions, SnapshotUsage } from './snapshotter.ts';

/** What was unpacked into a stage, and what only the layers below can complete; a part of `AppliedLayer`. */
export interface UnpackedLayer {
  /** Parents that the archive did not list; they become what `parent` has there. */
  impliedDirectories: readonly ByteString[];
  /** Hard links to files of the layers below, which are copied up. */
  lowerLinks?: readonly LowerLink[];
  usage: SnapshotUsage;
}

/** A layer in the making. Dispose of it: what was not committed is removed. */
export interface StagedLayer extends AsyncDisposable {
  /** An empty directory to unpack the layer into, in the on-disk form of the overlay file system. */
  readonly directory: string;

  /**
   * Makes the directory the committed snapshot `name` on `parent`.
   *
   * @throws {LayerStoreError} `ALREADY_EXISTS`, `NOT_FOUND` for an unknown parent; `INVALID_TAR` for a link to nothing
   */
  commit(
    name: string,
    parent: string | undefined,
    layer: UnpackedLayer,
    options?: SnapshotOptions,
  ): Promise<void>;
}

/** A snapshotter that can stage layers. */
export interface LayerStager {
  /** Starts a layer. Any number can be in the making at the same time. */
  stage(options?: SnapshotOptions): Promise<StagedLayer>;

  /**
   * Optional: {@link "snapshotter".Snapshotter.diff}, whose members also go to `members`, as a reader of the archive would give them.
   * Without it, whoever wants both reads the archive again.
   *
   * @param options.reusePieces - a piece of the archive need be valid only until the next is asked for
   */
  diffTo?(
    name: string,
    members: TarSink,
    options?: DiffOptions & { reusePieces?: boolean },
  ): AsyncIterable<Uint8Array>;
}
