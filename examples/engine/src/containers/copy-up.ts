/** A new volume begins with what the image has in its place. */
import { posix } from 'node:path';

import type { LiveContainer } from './store.ts';
import { followLinks } from './trees.ts';
import type { ContainerWorld } from './world.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/**
 * Fills the empty ones among a new container's volumes: owner and mode of the image's directory, and what is in it.
 *
 * The container's root is opened for the time of the copying, and only when there is something to fill.
 */
export async function copyUp(
  world: ContainerWorld,
  record: LiveContainer['record'],
  signal: AbortSignal,
): Promise<void> {
  for (const { type, name = '', destination, noCopy, subpath } of record.mounts) {
    if (type !== 'volume' || noCopy || subpath !== undefined) continue;
    await world.volumes.populate(name, (directory) => copy(world, record.id, destination, directory, signal));
  }
}

/** @returns false when the image has no directory there */
async function copy(
  world: ContainerWorld,
  id: string,
  from: string,
  to: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { trees } = world;
  using root = trees.open(await world.snapshotter.mounts(id));
  const path = followLinks(trees, root.path, from);
  try {
    if ((trees.stat(root.path, path).mode & S_IFMT) !== S_IFDIR) return false;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
  // by its name in its parent: the directory that an archive is unpacked into keeps its own owner and mode
  const archive = trees.pack(root.path, path, posix.basename(to), { signal });
  await trees.extract(archive, posix.dirname(to), '/', { sameKind: false, signal });
  return true;
}
