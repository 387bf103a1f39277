/** Makes committed snapshots of blobs: every layer alone, beside the others, and already while its blob arrives. */
import { openSync } from 'node:fs';
import { chainIds, type Descriptor, type Digest } from '@tare/image-spec';
import type { ContentStore } from '@tare/image-spec/content';
import { raceAbort } from '../abort.ts';
import { applyLayer, type AppliedLayer } from '../apply.ts';
import type { ApplyPolicy } from '../apply/policy.ts';
import { hasArrivals, hasFiles } from '../content/blob-files.ts';
import { isMissing } from '../content/ingest.ts';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import type { SingleFlight } from '../single-flight.ts';
import type { SnapshotUsage, Snapshotter } from '../snapshot/snapshotter.ts';
import type { LayerStager } from '../snapshot/stage.ts';
import { arrived, BrokenArrival, follow, openFile } from './follow.ts';
import type { UnpackWorkers } from './workers.ts';

/** A layer to unpack: its blob, and the digest of the archive in it. */
export interface LayerToUnpack {
  descriptor: Descriptor;
  diffId: Digest;
}

/** How far a layer is. */
export interface UnpackProgress {
  /** Of the blob. */
  digest: Digest;
  /** `'exists'`: nothing was to be done. */
  phase: 'extract' | 'done' | 'exists';
  /** Bytes of the blob that were read. */
  current: number;
  /** Size of the blob in bytes. */
  total: number;
}

/** What unpacking may have to wait for. */
export interface ArrivalOptions {
  /**
   * Settles when the blobs are in the content store, or will not be: the promise of `copyGraph`. With it, layers are
   * unpacked while they are downloaded. Default: all blobs are there, or being written already.
   */
  arrival?: Promise<unknown> | undefined;
  signal?: AbortSignal | undefined;
}

/** Options of {@link "layer-store".LayerStore.unpack}. */
export interface UnpackOptions extends ArrivalOptions {
  onProgress?(progress: UnpackProgress): void;
}

/** Options of {@link "layer-store".LayerStore.unpackLayer}. */
export interface UnpackLayerOptions extends ArrivalOptions {
  /** Called with the bytes of the blob that were read. They may begin again when a download does. */
  onProgress?(bytesRead: number): void;
}

/** A layer with the name of its snapshot. */
export type LayerInChain = LayerToUnpack & { chainId: Digest };

/** What an {@link Unpacker} works on. */
export interface UnpackerParts {
  content: ContentStore;
  snapshots: Snapshotter & LayerStager;
  fs: LayerFs;
  policy: ApplyPolicy;
  /** Undefined: layers are unpacked on the calling thread. */
  workers: UnpackWorkers | undefined;
  /** Snapshots in the making. */
  flights: SingleFlight<Digest, SnapshotUsage>;
  /** Aborts when the store is closed. */
  closing: AbortSignal;
}

/** Implements `LayerStore.unpack` and `LayerStore.unpackLayer`. */
export class Unpacker {
  readonly #parts: UnpackerParts;
  readonly #progress = new Map<Digest, Set<(bytesRead: number) => void>>();
  /** Calls under way, by the snapshot they make: those for the layer above wait for them. */
  readonly #calls = new Map<Digest, Set<Promise<SnapshotUsage>>>();

  constructor(parts: UnpackerParts) {
    this.#parts = parts;
  }

  async unpack(layers: readonly LayerToUnpack[], options: UnpackOptions): Promise<Digest> {
    const chain = await chainIds(layers.map(({ diffId }) => diffId));
    const top = chain.at(-1);
    if (top === undefined)
      throw new LayerStoreError('INVALID_ARGUMENT', 'an image without layers cannot be unpacked');
    // when one fails the others are of no use to this call; they go on if another call wants them
    const stop = new AbortController();
    const signal =
      options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
    const unpacking = layers.map(async ({ descriptor, diffId }, i) => {
      const report = (phase: UnpackProgress['phase'], current: number): void =>
        options.onProgress?.({ digest: descriptor.digest, phase, current, total: descriptor.size });
      if ((await this.#parts.snapshots.stat(chain[i]!, { signal })) !== undefined) {
        report('exists', descriptor.size);
        return;
      }
      await this.unpackLayer({ descriptor, diffId, chainId: chain[i]! }, chain[i - 1], {
        signal,
        arrival: options.arrival,
        onProgress: (bytesRead) => report('extract', bytesRead),
      });
      report('done', descriptor.size);
    });
    try {
      await Promise.all(unpacking);
    } catch (error) {
      stop.abort(error);
      await Promise.allSettled(unpacking);
      throw error;
    }
    return top;
  }

  async unpackLayer(
    layer: LayerInChain,
    parent: Digest | undefined,
    options: UnpackLayerOptions,
  ): Promise<SnapshotUsage> {
    const { chainId } = layer;
    const calls = this.#calls.get(chainId) ?? new Set();
    const call = this.#listening(layer, parent, options);
    this.#calls.set(chainId, calls.add(call));
    try {
      return await call;
    } finally {
      calls.delete(call);
      if (calls.size === 0) this.#calls.delete(chainId);
    }
  }

  async #listening(
    layer: LayerInChain,
    parent: Digest | undefined,
    { onProgress, ...options }: UnpackLayerOptions,
  ): Promise<SnapshotUsage> {
    if (onProgress === undefined) return this.#followingArrivals(layer, parent, options);
    const { chainId } = layer;
    const listeners = this.#progress.get(chainId) ?? new Set();
    this.#progress.set(chainId, listeners.add(onProgress));
    try {
      return await this.#followingArrivals(layer, parent, options);
    } finally {
      listeners.delete(onProgress);
      if (listeners.size === 0) this.#progress.delete(chainId);
    }
  }

  /** Unpacks when there is something of the blob, and again when that did not become the whole but something is to come. */
  async #followingArrivals(
    layer: LayerInChain,
    parent: Digest | undefined,
    { arrival, signal }: ArrivalOptions,
  ): Promise<SnapshotUsage> {
    const { flights, snapshots, closing } = this.#parts;
    let expected = arrival !== undefined;
    const settled = arrival?.then(() => void (expected = false));
    // it may settle when nobody waits for it any more
    settled?.catch(() => undefined);
    for (;;) {
      // a settled one may have brought the blob only after this attempt began
      const more = expected;
      if (more && (await snapshots.stat(layer.chainId)) === undefined) {
        await this.#begun(layer.descriptor, settled, signal);
      }
      try {
        return await flights.run(layer.chainId, signal, (flightSignal) =>
          this.#unpackAndCommit(layer, parent, AbortSignal.any([flightSignal, closing])),
        );
      } catch (error) {
        if (!(error instanceof BrokenArrival)) throw error;
        if (!more) throw error.cause;
      }
    }
  }

  /** Waits until there is something of a blob, or nothing more to wait for. */
  async #begun(
    descriptor: Descriptor,
    settled: Promise<void> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { content, closing, workers } = this.#parts;
    const stop = new AbortController();
    const ends = AbortSignal.any([stop.signal, closing, ...(signal === undefined ? [] : [signal])]);
    const waits = [settled];
    // the calling thread reads from the store, whole blobs only
    if (workers !== undefined && hasArrivals(content))
      waits.push(content.begun(descriptor, { signal: ends }));
    try {
      await raceAbort(Promise.race(waits), ends);
    } finally {
      stop.abort();
    }
  }

  async #unpackAndCommit(
    { descriptor, diffId, chainId }: LayerInChain,
    parent: Digest | undefined,
    signal: AbortSignal,
  ): Promise<SnapshotUsage> {
    const { snapshots } = this.#parts;
    if ((await snapshots.stat(chainId, { signal })) !== undefined) {
      return snapshots.usage(chainId, { signal });
    }
    await using stage = await snapshots.stage({ signal });
    const applied = await this.#apply(descriptor, diffId, stage.directory, signal, (bytesRead) => {
      for (const listener of this.#progress.get(chainId) ?? []) listener(bytesRead);
    });
    const usage = { sizeBytes: applied.bytes, inodes: applied.inodes };
    if (parent !== undefined) await this.#settledParent(parent, signal);
    signal.throwIfAborted();
    const { impliedDirectories, lowerLinks } = applied;
    await stage.commit(chainId, parent, { impliedDirectories, lowerLinks, usage }, { signal });
    // awaited here: it may reject while the stage is being disposed of
    return await snapshots.usage(chainId);
  }

  /** The parent may still be in the making. If nobody succeeds in that, neither does the layer on it. */
  async #settledParent(parent: Digest, signal: AbortSignal): Promise<void> {
    const calls = this.#calls.get(parent);
    const { flights } = this.#parts;
    // one that is made otherwise than by unpacking has a flight alone
    if (calls === undefined) return void (await flights.current(parent));
    try {
      await raceAbort(Promise.any(calls), signal);
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error;
    }
  }

  async #apply(
    descriptor: Descriptor,
    diffId: Digest,
    directory: string,
    signal: AbortSignal,
    onProgress: (bytesRead: number) => void,
  ): Promise<AppliedLayer> {
    const { content, fs, policy, workers } = this.#parts;
    const arriving = hasArrivals(content) ? content.arriving(descriptor.digest) : undefined;
    if (workers === undefined || !hasFiles(content)) {
      if (arriving !== undefined) await arrived(arriving, signal);
      const blob = await content.fetch(descriptor, { signal });
      return applyLayer(blob, directory, { ...policy, fs, diffId, signal, onProgress });
    }
    const job = { ...policy, directory, diffId };
    if (arriving !== undefined) return follow(workers, arriving, job, signal, onProgress);
    try {
      using file = openFile(() => openSync(content.path(descriptor.digest), 'r'));
      // the digest of the archive is checked, which says more than that of the blob
      return await workers.apply({ ...job, fd: file.fd, grows: false }, undefined, signal, onProgress);
    } catch (error) {
      signal.throwIfAborted();
      // if the blob is missing or damaged, that is what the caller should hear
      try {
        for await (const _ of await content.fetch(descriptor, { signal })) continue;
      } catch (cause) {
        signal.throwIfAborted();
        // whoever was bringing it has given up, and another may do so
        throw isMissing(error) ? new BrokenArrival('a blob is not there', { cause }) : cause;
      }
      // it came between the two looks
      if (isMissing(error)) return this.#apply(descriptor, diffId, directory, signal, onProgress);
      throw error;
    }
  }
}
