/** Blobs and snapshots in one directory, and the way from one to the other: what an engine needs of this package. */
import { join } from 'node:path';
import type { Digest } from '@tare/image-spec';
import type { ContentStore } from '@tare/image-spec/content';
import { mkdir } from 'node:fs/promises';
import type { ApplyPolicy } from './apply/policy.ts';
import { commitArchive, commitLayer, diffOptions } from './commit-layer.ts';
import type { CommittedLayer, LayerArchive, LayerCommitter } from './commit-layer.ts';
import { decompress } from './compression.ts';
import type { ContentCreator } from './content/blob-files.ts';
import { openFileContent } from './content/file-content.ts';
import { Leases } from './content/leases.ts';
import {
  createLayer,
  type CreatedLayer,
  type CreateLayerOptions,
  type SnapshotLayerOptions,
} from './create-layer.ts';
import { LayerStoreError } from './errors.ts';
import type { LayerFs } from './fs.ts';
import { SingleFlight } from './single-flight.ts';
import { openOverlaySnapshotter } from './snapshot/overlay.ts';
import type { SnapshotUsage, Snapshotter } from './snapshot/snapshotter.ts';
import type { LayerStager } from './snapshot/stage.ts';
import {
  Unpacker,
  type LayerInChain,
  type LayerToUnpack,
  type UnpackLayerOptions,
  type UnpackOptions,
} from './unpack/unpacker.ts';
import { UnpackWorkers, type UnpackWorkerOptions } from './unpack/workers.ts';

/** Options of {@link openLayerStore}. */
export interface LayerStoreOptions {
  /** Directory of the store; made when it is not there. Blobs go to `content/`, snapshots to `snapshots/`. */
  root: string;
  /** How to reach the disk: `layerFs` of `@tare/runtime-native/syscalls`. */
  fs: LayerFs;
  /** Where blobs are, when they are kept elsewhere. Default: `<root>/content`. */
  content?: ContentStore & ContentCreator;
  /** Where layers are, when not as overlay snapshots in `<root>/snapshots`. Disposed of with the store. */
  snapshots?: Snapshotter & LayerStager & AsyncDisposable;
  /** How layers are unpacked; whiteouts are always those of overlay. */
  policy?: Omit<ApplyPolicy, 'whiteouts' | 'ownership' | 'lowerLinks'>;
  /**
   * Threads to unpack layers on, beside each other. Default: none, layers are unpacked on the calling thread in slices of
   * a few milliseconds. Takes effect when the content store has its blobs in files.
   */
  workers?: UnpackWorkerOptions;
  signal?: AbortSignal;
}

/** Blobs, snapshots, and unpacking. Made by {@link openLayerStore}; dispose of it to let others open the same root. */
export interface LayerStore extends AsyncDisposable {
  readonly content: ContentStore & ContentCreator;
  readonly snapshots: Snapshotter & LayerStager;
  /** What garbage collection leaves alone meanwhile; in `<root>/leases`. */
  readonly leases: Leases;

  /**
   * Makes the committed snapshots of an image from its blobs, which are in the content store or on their way to it.
   *
   * With `options.arrival` and `workers` a layer is unpacked while its blob is written, and becomes visible when that is
   * found to be what it should be. When an attempt to write it fails, what was made of it is thrown away, and the next
   * attempt, or the blob once it is there, unpacked.
   *
   * Layers are unpacked beside each other, each alone; what is there already is not touched, and what another call is
   * unpacking at this moment is waited for. Snapshots that were finished before a failure stay.
   *
   * @param layers - oldest first
   * @returns the chainID of the topmost layer: the `parent` for a container's snapshot
   * @throws {LayerStoreError} `DIGEST_MISMATCH` when an archive is not what its diffID says, `INVALID_TAR`,
   * `UNSAFE_ENTRY`, `LIMIT_EXCEEDED`, `NOT_FOUND` for a missing blob, `INVALID_ARGUMENT` for no layers; what `arrival`
   * rejects with
   */
  unpack(layers: readonly LayerToUnpack[], options?: UnpackOptions): Promise<Digest>;

  /**
   * Makes the committed snapshot `layer.chainId` on `parent`. While a call for the parent is under way, this one
   * unpacks already and waits for it before the commit: start all layers of an image at once, in order.
   *
   * @throws {LayerStoreError} as {@link LayerStore.unpack}; `NOT_FOUND` also for a parent that is neither there nor
   * being unpacked
   */
  unpackLayer(
    layer: LayerInChain,
    parent: Digest | undefined,
    options?: UnpackLayerOptions,
  ): Promise<SnapshotUsage>;

  /**
   * Stores what the snapshot `key` is on its parent as a layer's blob. The snapshot stays as it is; unpack the layer, or
   * commit the snapshot under its chainID, to put others on it.
   *
   * @throws {LayerStoreError} as {@link Snapshotter.diff}
   */
  createLayer(key: string, options?: SnapshotLayerOptions): Promise<CreatedLayer>;

  /**
   * {@link LayerStore.createLayer}, and the committed snapshot of the layer along with it: others can be put on it at once.
   * Cheaper than to unpack the layer, above all with `compression: 'none'`. An empty layer makes no snapshot.
   *
   * @throws {LayerStoreError} as {@link Snapshotter.diff}
   */
  commitLayer(key: string, options?: SnapshotLayerOptions): Promise<CommittedLayer>;

  /**
   * The same of an archive of the caller's making, as a layer on `parent`.
   *
   * @param archive - with `compression: 'none'`, a piece of it need be valid only until the next is asked for
   * @throws {LayerStoreError} as {@link LayerStore.unpack}, but for `DIGEST_MISMATCH`
   */
  commitArchive(
    archive: LayerArchive,
    parent: Digest | undefined,
    options?: CreateLayerOptions,
  ): Promise<CommittedLayer>;

  /**
   * Stores an archive of somebody else's (gzip, zstd or plain) as a layer's blob. What is in it is found out when it is
   * unpacked.
   */
  importLayer(archive: AsyncIterable<Uint8Array>, options?: CreateLayerOptions): Promise<CreatedLayer>;
}

/**
 * Opens the store in `root`, private to its owner (mode 0700), and removes what a crash left unfinished.
 *
 * @throws {LayerStoreError} `IN_USE` while another process has it open
 */
export async function openLayerStore(options: LayerStoreOptions): Promise<LayerStore> {
  const { root, signal } = options;
  const signalOption = signal === undefined ? {} : { signal };
  await mkdir(root, { recursive: true, mode: 0o700 });
  const content = options.content ?? (await openFileContent(join(root, 'content'), signalOption));
  const snapshots =
    options.snapshots ??
    (await openOverlaySnapshotter(join(root, 'snapshots'), {
      fs: options.fs,
      overlayXattrs: options.policy?.overlayXattrs ?? 'trusted',
      idMap: options.policy?.idMap,
      ...signalOption,
    }));
  return new FileLayerStore(content, snapshots, options);
}

class FileLayerStore implements LayerStore {
  readonly content: ContentStore & ContentCreator;
  readonly snapshots: Snapshotter & LayerStager & AsyncDisposable;
  readonly leases: Leases;
  readonly #fs: LayerFs;
  readonly #policy: ApplyPolicy;
  readonly #flights = new SingleFlight<Digest, SnapshotUsage>();
  readonly #closing = new AbortController();
  readonly #workers: UnpackWorkers | undefined;
  readonly #unpacker: Unpacker;

  constructor(
    content: ContentStore & ContentCreator,
    snapshots: Snapshotter & LayerStager & AsyncDisposable,
    options: LayerStoreOptions,
  ) {
    this.content = content;
    this.snapshots = snapshots;
    this.leases = new Leases(join(options.root, 'leases'));
    this.#fs = options.fs;
    this.#policy = { ...options.policy, whiteouts: 'overlay', ownership: 'keep', lowerLinks: 'report' };
    this.#workers = options.workers && new UnpackWorkers(options.workers);
    this.#unpacker = new Unpacker({
      content,
      snapshots,
      fs: this.#fs,
      policy: this.#policy,
      workers: this.#workers,
      flights: this.#flights,
      closing: this.#closing.signal,
    });
  }

  async unpack(layers: readonly LayerToUnpack[], options: UnpackOptions = {}): Promise<Digest> {
    this.#closing.signal.throwIfAborted();
    return this.#unpacker.unpack(layers, options);
  }

  async unpackLayer(
    layer: LayerInChain,
    parent: Digest | undefined,
    options: UnpackLayerOptions = {},
  ): Promise<SnapshotUsage> {
    this.#closing.signal.throwIfAborted();
    return this.#unpacker.unpackLayer(layer, parent, options);
  }

  createLayer(key: string, options: SnapshotLayerOptions = {}): Promise<CreatedLayer> {
    this.#closing.signal.throwIfAborted();
    return createLayer(this.content, this.snapshots.diff(key, diffOptions(options)), options);
  }

  commitLayer(key: string, options: SnapshotLayerOptions = {}): Promise<CommittedLayer> {
    this.#closing.signal.throwIfAborted();
    return commitLayer(this.#committer(), key, options);
  }

  commitArchive(
    archive: LayerArchive,
    parent: Digest | undefined,
    options: CreateLayerOptions = {},
  ): Promise<CommittedLayer> {
    this.#closing.signal.throwIfAborted();
    return commitArchive(this.#committer(), archive, parent, options);
  }

  importLayer(archive: AsyncIterable<Uint8Array>, options: CreateLayerOptions = {}): Promise<CreatedLayer> {
    this.#closing.signal.throwIfAborted();
    return createLayer(this.content, decompress(archive), options);
  }

  /** Cancels what is being unpacked, waits until it is cleaned up, and lets go of the root. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new LayerStoreError('CLOSED', 'the layer store is closed'));
    await this.#flights.idle();
    await this.#workers?.[Symbol.asyncDispose]();
    await this.snapshots[Symbol.asyncDispose]();
  }

  #committer(): LayerCommitter {
    const { content, snapshots } = this;
    return { content, snapshots, fs: this.#fs, policy: this.#policy, flights: this.#flights };
  }
}
