/** Directories that lie over each other, as the overlay file system shows them; one alone is shown as it is. */
import * as fs from 'node:fs';
import { fsName, join, type Directory } from '../apply/directory-tree.ts';
import type { LayerFs } from '../fs.ts';
import type { ByteString } from '../tar/entry.ts';
import { openDirectory, pinInode } from './pin.ts';

/** Holds what a name means: in the topmost of `parents` that has it, which come back with those below. */
export function pinFirst(
  options: { fs: LayerFs; oneFileSystem?: boolean },
  parents: readonly Directory[],
  name: ByteString,
  required: boolean,
): { fd: number; foreign: boolean; parents: readonly Directory[] } | undefined {
  for (const [at, parent] of parents.entries()) {
    const found = pinInode(options, parent, name, required);
    if (found !== undefined) return { ...found, parents: parents.slice(at) };
  }
  return undefined;
}

/**
 * Opens the directories called `name` that are shown together, for the caller to close; none when the topmost is no
 * directory.
 *
 * @param opaque - the attribute with which one hides all below it; undefined: none does
 */
export function openMerged(
  layerFs: LayerFs,
  parents: readonly Directory[],
  name: ByteString,
  opaque: string | undefined,
): { directories: readonly Directory[]; opaque: boolean } {
  const directories: Directory[] = [];
  try {
    for (const parent of parents) {
      const fd = openDirectory(layerFs, parent, name);
      // what is no directory hides those below it
      if (fd === 'other') break;
      if (fd === 'missing') continue;
      directories.push({ fd, path: join(parent.path, name) });
      if (opaque !== undefined && isMarked(layerFs, parent, name, opaque))
        return { directories, opaque: true };
    }
  } catch (error) {
    closeAll(directories);
    throw error;
  }
  return { directories, opaque: false };
}

/** Every name in any of them, in order. */
export function mergedNames(directories: readonly Directory[]): ByteString[] {
  const names = new Set<ByteString>();
  for (const { fd } of directories) {
    for (const name of fs.readdirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1' })) names.add(name);
  }
  return [...names].sort();
}

export function closeAll(directories: readonly Directory[]): void {
  for (const { fd } of directories) fs.closeSync(fd);
}

function isMarked(layerFs: LayerFs, parent: Directory, name: ByteString, attribute: string): boolean {
  const value = layerFs.getxattrat(parent.fd, fsName(name), attribute);
  return value !== undefined && Buffer.from(value).toString('latin1') === 'y';
}
