/** Optional power of a snapshotter: layers that are made whole on their own, beside each other, and then put in a chain. */
import type { SnapshotOptions, SnapshotUsage } from './snapshotter.ts';

/** A layer in the making. Dispose of it: what was not committed is removed. */
export interface StagedLayer extends AsyncDisposable {
  /** An empty directory to unpack the layer into, in the on-disk form of the overlay file system. */
  readonly directory: string;

  /**
   * Makes the directory the committed snapshot `name` on `parent`.
   *
   * @param layer.impliedDirectories - parents that the archive did not list; they become what `parent` has there
   * @throws {LayerStoreError} `ALREADY_EXISTS`, `NOT_FOUND` for an unknown parent
   */
  commit(
    name: string,
    parent: string | undefined,
    layer: { impliedDirectories: readonly string[]; usage: SnapshotUsage },
    options?: SnapshotOptions,
  ): Promise<void>;
}

/** A snapshotter that can stage layers. */
export interface LayerStager {
  /** Starts a layer. Any number can be in the making at the same time. */
  stage(options?: SnapshotOptions): Promise<StagedLayer>;
}
