/** What a stage is at one moment, and what building works with. */
import type { ContainerConfig, Digest, History, ImageConfig } from '@tare/image-spec';
import { randomBytes } from 'node:crypto';

import type { Containers } from '../containers/containers.ts';
import type { RootSyscalls } from '../containers/root-files.ts';
import type { Trees } from '../containers/trees.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import type { NewLayer } from '../images/create.ts';
import type { Images } from '../images/images.ts';
import type { LayerUnpacker, Puller } from '../images/pull.ts';
import type { BuildCacheTable } from '../state/build-cache-table.ts';
import type { LayerMaker } from './commit.ts';

/** Everything the builder is made of. */
export interface BuildParts {
  images: Images;
  puller: Pick<Puller, 'pull'>;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  containers: Pick<Containers, 'create' | 'start' | 'wait' | 'attach' | 'remove' | 'find' | 'holdStill'>;
  trees: Trees;
  syscalls: RootSyscalls;
  cache: BuildCacheTable;
  jobs: JobQueue;
  /** For contexts and cache mounts; the builder's own. */
  directory: string;
}

/** A stage between two steps. Never changed: each step makes a new one. */
export interface StageState {
  config: ContainerConfig;
  /** Oldest first. */
  layers: readonly NewLayer[];
  /** ChainIDs of the layers. */
  chain: readonly Digest[];
  history: readonly History[];
  platform: Pick<ImageConfig, 'architecture' | 'os' | 'variant'>;
  author: string | undefined;
  /** Declared arguments that have a value; stages built on this one know them too. */
  args: ReadonlyMap<string, string>;
}

/** What tells a client of the build. */
export interface BuildOutput {
  /** A piece of output, with its line ends. */
  write(text: string): void;
}

/**
 * Runs `work` with a path that leads into the file system of a stage, to read it.
 *
 * @param chainId - undefined for an empty one
 */
export async function withStageRoot<T>(
  { images, trees }: Pick<BuildParts, 'images' | 'trees'>,
  chainId: Digest | undefined,
  work: (root: string) => Promise<T>,
): Promise<T> {
  // named like containers, so that the sweep for those finds what a crash leaves
  const key = randomBytes(32).toString('hex');
  const mounts = await images.snapshots.view(key, chainId);
  try {
    using root = trees.open(mounts);
    return await work(root.path);
  } finally {
    await images.snapshots.remove(key);
  }
}
