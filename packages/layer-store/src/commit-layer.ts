/**
 * Makes a layer of a snapshot and, in the same pass, the committed snapshot that unpacking the layer would give: what is
 * read for the one is written for the other. Its own directory cannot be that snapshot, for it goes on changing.
 */
import { chainIds, isEmptyLayer, type Digest } from '@tare/image-spec';
import { LayerApplier } from './apply/layer-applier.ts';
import type { ApplyPolicy } from './apply/policy.ts';
import {
  createLayer,
  type CreatedLayer,
  type CreateLayerOptions,
  type SnapshotLayerOptions,
} from './create-layer.ts';
import type { ContentCreator } from './content/blob-files.ts';
import { LayerStoreError } from './errors.ts';
import type { LayerFs } from './fs.ts';
import type { SingleFlight } from './single-flight.ts';
import type { DiffOptions, Snapshotter, SnapshotUsage } from './snapshot/snapshotter.ts';
import type { LayerStager, UnpackedLayer } from './snapshot/stage.ts';
import { TarReader, type TarSink } from './tar/read.ts';

/** A layer that is in a content store, and unpacked. */
export interface CommittedLayer extends CreatedLayer {
  /** Of the layers that the snapshot stands on and this one: the name of the committed snapshot. */
  chainId: Digest;
}

/**
 * An uncompressed archive of the caller's making; or what makes one and gives every member to `members` as well, as a reader
 * of it would: then nobody has to read it again.
 */
export type LayerArchive = AsyncIterable<Uint8Array> | ((members: TarSink) => AsyncIterable<Uint8Array>);

/** What committing needs of a layer store. */
export interface LayerCommitter {
  content: ContentCreator;
  snapshots: Snapshotter & LayerStager;
  fs: LayerFs;
  /** How the layer is unpacked. */
  policy: ApplyPolicy;
  /** Committed snapshots in the making, by chainID. */
  flights: SingleFlight<Digest, SnapshotUsage>;
}

/** What of the options of a layer says what is in it. */
export function diffOptions({ signal, without, maxMtimeNs }: SnapshotLayerOptions): DiffOptions {
  return {
    maxMtimeNs,
    ...(signal === undefined ? {} : { signal }),
    ...(without === undefined ? {} : { without }),
  };
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
  const diff = diffOptions(options);
  return commit(
    committer,
    (applier) =>
      // what compresses takes more than one piece at a time
      snapshots.diffTo?.(key, applier, { ...diff, reusePieces: options.compression === 'none' }) ??
      unpacking(snapshots.diff(key, diff), applier),
    parent,
    options,
  );
}

/** Implements `LayerStore.commitArchive`. */
export async function commitArchive(
  committer: LayerCommitter,
  archive: LayerArchive,
  parent: Digest | undefined,
  options: CreateLayerOptions,
): Promise<CommittedLayer> {
  const archiveTo = (applier: LayerApplier): AsyncIterable<Uint8Array> =>
    typeof archive === 'function' ? archive(applier) : unpacking(archive, applier);
  return commit(committer, archiveTo, parent, options);
}

/** @param archiveTo - the archive, which is unpacked as it is read */
async function commit(
  committer: LayerCommitter,
  archiveTo: (applier: LayerApplier) => AsyncIterable<Uint8Array>,
  parent: Digest | undefined,
  options: CreateLayerOptions,
): Promise<CommittedLayer> {
  const { snapshots } = committer;
  await using stage = await snapshots.stage();
  const [layer, unpacked] = await createAndUnpack(committer, archiveTo, stage.directory, options);
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
  { content, fs, policy }: LayerCommitter,
  archiveTo: (applier: LayerApplier) => AsyncIterable<Uint8Array>,
  directory: string,
  options: CreateLayerOptions,
): Promise<[CreatedLayer, UnpackedLayer]> {
  using applier = new LayerApplier(fs, directory, policy);
  const layer = await createLayer(content, archiveTo(applier), options);
  const { impliedDirectories, lowerLinks, bytes, inodes } = applier.finish();
  return [layer, { impliedDirectories, lowerLinks, usage: { sizeBytes: bytes, inodes } }];
}

/** Passes an archive on while it is unpacked; whoever makes the archive lets other work have its turn. */
async function* unpacking(
  archive: AsyncIterable<Uint8Array>,
  applier: LayerApplier,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new TarReader(applier);
  for await (const chunk of archive) {
    reader.write(chunk);
    yield chunk;
  }
  reader.end();
}
