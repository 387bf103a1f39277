/**
 * Makes a layer of a snapshot and, in the same pass, the committed snapshot that unpacking the layer would give: what is
 * read for the one is written for the other. Its own directory cannot be that snapshot, for it goes on changing.
 */
import { chainIds, isEmptyLayer, MEDIA_TYPES, type Digest } from '@tare/image-spec';
import { LayerApplier } from './apply/layer-applier.ts';
import type { ApplyPolicy } from './apply/policy.ts';
import {
  createLayer,
  type CreatedLayer,
  type CreateLayerOptions,
  type SnapshotLayerOptions,
} from './create-layer.ts';
import { hasArrivals, type ArrivingBlobs, type ContentCreator } from './content/blob-files.ts';
import { LayerStoreError } from './errors.ts';
import type { LayerFs } from './fs.ts';
import type { SingleFlight } from './single-flight.ts';
import type { Snapshotter, SnapshotUsage } from './snapshot/snapshotter.ts';
import type { LayerStager, UnpackedLayer } from './snapshot/stage.ts';
import { TarReader } from './tar/read.ts';
import { BrokenArrival, follow } from './unpack/follow.ts';
import type { UnpackWorkers } from './unpack/workers.ts';

/** A layer that is in a content store, and unpacked. */
export interface CommittedLayer extends CreatedLayer {
  /** Of the layers that the snapshot stands on and this one: the name of the committed snapshot. */
  chainId: Digest;
}

/** What committing needs of a layer store. */
export interface LayerCommitter {
  content: ContentCreator;
  snapshots: Snapshotter & LayerStager;
  fs: LayerFs;
  /** How the layer is unpacked. */
  policy: ApplyPolicy;
  /** Undefined: layers are unpacked on the calling thread. */
  workers: UnpackWorkers | undefined;
  /** Committed snapshots in the making, by chainID. */
  flights: SingleFlight<Digest, SnapshotUsage>;
}

/** What a snapshot is on its parent, as an archive. */
export function snapshotArchive(
  snapshots: Snapshotter,
  key: string,
  { signal, without, maxMtimeNs }: SnapshotLayerOptions,
): AsyncIterable<Uint8Array> {
  return snapshots.diff(key, {
    maxMtimeNs,
    ...(signal === undefined ? {} : { signal }),
    ...(without === undefined ? {} : { without }),
  });
}

/** Implements `LayerStore.commitLayer`. */
export async function commitLayer(
  committer: LayerCommitter,
  key: string,
  options: SnapshotLayerOptions,
): Promise<CommittedLayer> {
  const { snapshots } = committer;
  const info = await snapshots.stat(key);
  if (info === undefined) throw new LayerStoreError('NOT_FOUND', `there is no snapshot ${key}`);
  // committed snapshots are named by their chainIDs
  const parent = info.parent as Digest | undefined;
  const read: ReadArchive = (signal) =>
    snapshotArchive(snapshots, key, signal ? { ...options, signal } : options);
  return commitArchive(committer, read, parent, options);
}

/** Opens an archive, once. @param signal - ends reading it */
export type ReadArchive = (signal: AbortSignal | undefined) => AsyncIterable<Uint8Array>;

/** Implements `LayerStore.commitArchive`. */
export async function commitArchive(
  committer: LayerCommitter,
  read: ReadArchive,
  parent: Digest | undefined,
  options: CreateLayerOptions,
): Promise<CommittedLayer> {
  const { snapshots } = committer;
  await using stage = await snapshots.stage();
  const [layer, unpacked] = await createAndUnpack(committer, read, stage.directory, options);
  const chainId = (await chainIds(parent === undefined ? [layer.diffId] : [parent, layer.diffId])).at(-1)!;
  options.signal?.throwIfAborted();
  // images leave an empty one out
  if (isEmptyLayer(layer.diffId)) return { ...layer, chainId };
  // not aborted any more: another may be waiting for the snapshot, and the stage must outlive it
  await committer.flights.run(chainId, undefined, async () => {
    if ((await snapshots.stat(chainId)) === undefined) await stage.commit(chainId, parent, unpacked);
    return snapshots.usage(chainId);
  });
  return { ...layer, chainId };
}

async function createAndUnpack(
  committer: LayerCommitter,
  read: ReadArchive,
  directory: string,
  options: CreateLayerOptions,
): Promise<[CreatedLayer, UnpackedLayer]> {
  const { content, fs, policy, workers } = committer;
  // a compressed one would have to be inflated again
  if (workers !== undefined && options.compression === 'none' && hasArrivals(content)) {
    return createAndFollow(committer, content, workers, read, directory, options);
  }
  using applier = new LayerApplier(fs, directory, policy);
  const layer = await createLayer(content, unpacking(read(options.signal), new TarReader(applier)), options);
  const { impliedDirectories, lowerLinks, bytes, inodes } = applier.finish();
  return [layer, { impliedDirectories, lowerLinks, usage: { sizeBytes: bytes, inodes } }];
}

/** Reads the archive here, and unpacks what is written of it on another thread. */
async function createAndFollow(
  { policy }: LayerCommitter,
  content: ArrivingBlobs,
  workers: UnpackWorkers,
  read: ReadArchive,
  directory: string,
  options: CreateLayerOptions,
): Promise<[CreatedLayer, UnpackedLayer]> {
  // when one of the two fails, nobody waits for the other in vain
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const { begun, created } = content.creating(read(signal), { signal });
  const job = { ...policy, directory, diffId: undefined };
  const following = begun.then((blob) => follow(workers, blob, job, signal, () => undefined));
  try {
    const [{ digest, size }, unpacked] = await Promise.all([created, following]);
    if (unpacked.diffId !== digest) {
      throw new LayerStoreError('DIGEST_MISMATCH', `what was unpacked of ${digest} is ${unpacked.diffId}`);
    }
    const { impliedDirectories, lowerLinks, bytes, inodes } = unpacked;
    const descriptor = { mediaType: MEDIA_TYPES.ociLayer, digest, size };
    const layer = { descriptor, diffId: digest, archiveBytes: size };
    return [layer, { impliedDirectories, lowerLinks, usage: { sizeBytes: bytes, inodes } }];
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled([created, following]);
    throw error instanceof BrokenArrival ? error.cause : error;
  }
}

/** Passes an archive on while it is unpacked; whoever makes the archive lets other work have its turn. */
async function* unpacking(
  archive: AsyncIterable<Uint8Array>,
  reader: TarReader,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of archive) {
    reader.write(chunk);
    yield chunk;
  }
  reader.end();
}
