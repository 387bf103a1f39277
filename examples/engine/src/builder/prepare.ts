/** The start of the builder: its directory, and what a crash left in it. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { SolverParts } from './seams.ts';

/** Makes the builder's directory. Contexts and mounts of builds that were under way go; cache mounts stay. */
export async function prepareBuilder({
  directory,
  trees,
}: Pick<SolverParts, 'directory' | 'trees'>): Promise<void> {
  for (const name of ['contexts', 'mounts', 'cache']) {
    await mkdir(join(directory, name), { recursive: true, mode: 0o700 });
  }
  for (const name of await readdir(join(directory, 'mounts'))) trees.unmount(join(directory, 'mounts', name));
  for (const kind of ['mounts', 'contexts']) {
    for (const name of await readdir(join(directory, kind))) {
      await rm(join(directory, kind, name), { recursive: true, force: true });
    }
  }
}
