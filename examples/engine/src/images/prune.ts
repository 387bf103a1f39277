/** Removes what nobody needs: images without users, and what broken work left in the stores. */
import { Filters } from '../filters.ts';
import type { Digest } from '@tare/image-spec';
import { LayerStoreError } from '@tare/layer-store';
import { EngineError } from '../errors.ts';
import type { Images } from './images.ts';
import { createdMs, isDangling } from './list.ts';
import { blobsOf, removeImage, type RemovedItem } from './remove.ts';

/** Filter keys of the prune. */
export const PRUNE_FILTERS = ['dangling', 'label', 'label!', 'until'] as const;

/**
 * Removes images without names (all unused ones with `dangling=false`) that no container uses.
 *
 * @returns what was removed, and the unpacked bytes it took
 */
export async function pruneImages(
  images: Images,
  filters: Filters,
  signal: AbortSignal,
): Promise<{ removed: RemovedItem[]; reclaimedBytes: number }> {
  const danglingOnly = filters.bool('dangling') ?? true;
  const untilNs = filters.timestamp('until');
  const removed: RemovedItem[] = [];
  let reclaimedBytes = 0;
  for (const image of images.all()) {
    signal.throwIfAborted();
    if (danglingOnly && image.repoTags.length > 0) continue;
    if (!danglingOnly && images.users.usersOf(image.id).length > 0) continue;
    if (untilNs !== undefined && BigInt(createdMs(image)) * 1_000_000n >= untilNs) continue;
    if (!filters.matchesLabels(image.config.config?.Labels)) continue;
    const before = unpackedBytes(images);
    for (const name of isDangling(image) ? [image.id] : [...image.repoTags, ...image.repoDigests]) {
      try {
        removed.push(...(await removeImage(images, name, { force: false })));
      } catch (error) {
        // in use, or gone with a name before: prune takes what it can
        if (!(error instanceof EngineError && (error.code === 'CONFLICT' || error.code === 'NOT_FOUND'))) {
          throw error;
        }
      }
    }
    reclaimedBytes += before - unpackedBytes(images);
  }
  return { removed, reclaimedBytes };
}

function unpackedBytes(images: Images): number {
  let sum = 0;
  for (const size of images.table.layerSizes().values()) sum += size;
  return sum;
}

/** Blobs and layers that no image refers to are kept this long: a broken pull goes on from them. */
const ORPHAN_AGE_MS = 24 * 3600 * 1000;

/** Removes blobs and layers that no image refers to: what a crash or a broken pull left. Run once after the start. */
export async function sweepImages(
  images: Images,
  options: { now?: number; signal?: AbortSignal } = {},
): Promise<void> {
  const { now = Date.now(), signal } = options;
  const rows = images.table.list();
  const chains = new Set(rows.flatMap((row) => row.chain));
  const blobs = new Set<Digest>();
  for (const row of rows) for (const digest of await blobsOf(images, row.id)) blobs.add(digest);

  const orphans: string[] = [];
  for await (const { kind, name, createdAt } of images.snapshots.list()) {
    signal?.throwIfAborted();
    const orphan = kind === 'committed' && !chains.has(name as Digest) && !images.leases.has(name);
    if (orphan && now - createdAt.getTime() > ORPHAN_AGE_MS) orphans.push(name);
  }
  // listed parents first; removed children first
  for (const name of orphans.toReversed()) {
    try {
      await images.snapshots.remove(name);
      images.table.removeLayer(name as Digest);
    } catch (error) {
      if (!(error instanceof LayerStoreError && error.code === 'IN_USE')) throw error;
    }
  }
  for await (const { digest, createdAt } of images.content.list()) {
    signal?.throwIfAborted();
    const orphan = !blobs.has(digest) && !images.leases.has(digest);
    if (orphan && now - createdAt.getTime() > ORPHAN_AGE_MS) await images.content.delete(digest);
  }
}
