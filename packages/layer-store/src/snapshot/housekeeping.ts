/** One process per root, and no leftovers: the lock of a snapshotter's directory, and what a crash left in it. */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DirectoryTree } from '../apply/directory-tree.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { isOwnerAlive, thisOwner } from '../owner.ts';
import type { SnapshotTable } from './metadata.ts';

/**
 * Takes the lock of `root`; that of a process which is gone falls to the next.
 *
 * @throws {LayerStoreError} `IN_USE`
 */
export function lock(root: string): void {
  const path = join(root, 'owner');
  const mine = join(root, `owner.${randomBytes(6).toString('hex')}`);
  writeFileSync(mine, thisOwner);
  try {
    for (;;) {
      try {
        linkSync(mine, path);
        return;
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
      }
      const owner = readOwner(path);
      if (owner === undefined) continue;
      if (isOwnerAlive(owner)) {
        throw new LayerStoreError(
          'IN_USE',
          `the snapshots in ${root} are in use by process ${owner.split('-')[0]}`,
        );
      }
      rmSync(path, { force: true });
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Gives the lock back. */
export function unlock(root: string): void {
  rmSync(join(root, 'owner'), { force: true });
}

function readOwner(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes unfinished work, directories without a record and records without a directory. The caller holds the lock. */
export async function sweep(root: string, table: SnapshotTable, layerFs: LayerFs): Promise<void> {
  for (const name of await readdir(join(root, 't'))) await removeTree(join(root, 't', name), layerFs);
  const present = new Set(await readdir(join(root, 's')));
  const known = new Set<string>();
  for (const { id, name } of table.list()) {
    if (present.has(id)) known.add(id);
    else table.delete(name);
  }
  for (const id of present) if (!known.has(id)) await removeTree(join(root, 's', id), layerFs);
}

/** Removes `path` and all below it, also what is too deep to be named by one path. Nothing there is fine. */
export async function removeTree(path: string, layerFs: LayerFs): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (systemCode(error) !== 'ENAMETOOLONG') throw error;
    using tree = new DirectoryTree(layerFs, dirname(path));
    tree.remove(tree.root, basename(path));
  }
}
