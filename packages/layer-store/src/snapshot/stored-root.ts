/** The directory of a snapshotter: opened by one process at a time, and looked at. */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { toHost, type IdMap } from '../apply/id-map.ts';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { lock, sweep, unlock } from './housekeeping.ts';
import { SnapshotTable } from './metadata.ts';
import type { SnapshotOptions } from './snapshotter.ts';

/** Options of every snapshotter in a directory. */
export interface StoredOptions extends SnapshotOptions {
  /** Calls that settling a layer needs. */
  fs: LayerFs;
  /** How owners of the layers' files are shifted on disk: as the layers were unpacked. Default: not at all. */
  idMap?: IdMap | undefined;
}

/** An open root. */
export interface StoredRoot {
  root: string;
  table: SnapshotTable;
}

/**
 * Takes `root`, making it when it is not there (mode 0700), and removes what a crash left unfinished.
 *
 * @throws {LayerStoreError} `IN_USE`, `INVALID_ARGUMENT`, `CORRUPT_STORE`
 */
export async function openStoredRoot(root: string, { fs, signal }: StoredOptions): Promise<StoredRoot> {
  signal?.throwIfAborted();
  const absolute = resolve(root);
  if (/[:,\\\n]/.test(absolute)) {
    throw new LayerStoreError(
      'INVALID_ARGUMENT',
      `snapshots cannot be kept in ${JSON.stringify(absolute)}: colons, commas and backslashes separate mount options`,
    );
  }
  await mkdir(absolute, { recursive: true, mode: 0o700 });
  for (const name of ['s', 'm', 't']) await mkdir(join(absolute, name), { recursive: true, mode: 0o700 });
  // snapshots are made in the one, or in the other and moved
  for (const name of ['s', 't']) spread(join(absolute, name), fs);
  lock(absolute);
  try {
    const table = new SnapshotTable(join(absolute, 'm'), join(absolute, 't'));
    await sweep(absolute, table, fs);
    return { root: absolute, table };
  } catch (error) {
    unlock(absolute);
    throw error;
  }
}

/**
 * Places snapshots far from each other: they have nothing to do with each other. ext4 would put them side by side, in the
 * place of those that were removed a moment ago; without a journal it gives none of their inodes away again for some
 * minutes, and goes past each of them for every file that is made.
 */
function spread(directory: string, fs: LayerFs): void {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fs.spreadSubdirectories?.(fd);
  } finally {
    closeSync(fd);
  }
}

/** Whether the root of the file system looks the same with a layer and without it; times do not count. */
export function sameRoot(layer: string, below: string | undefined, idMap: IdMap | undefined): boolean {
  const own = statSync(layer);
  const root = idMap === undefined ? { uid: 0, gid: 0 } : toHost(idMap, { uid: 0, gid: 0 });
  const other = below === undefined ? { mode: constants.S_IFDIR | 0o755, ...root } : statSync(below);
  return own.mode === other.mode && own.uid === other.uid && own.gid === other.gid;
}

/** Opens directories for as long as `stack` lives. */
export function openAll(stack: DisposableStack, directories: readonly string[]): number[] {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  return directories.map((directory) => stack.adopt(openSync(directory, flags), closeSync));
}
