/** What a stage is at one moment. */
import type { ContainerConfig, Digest, History, ImageConfig, Platform } from '@tare/image-spec';
import { randomBytes } from 'node:crypto';

import type { NewLayer } from '../images/create.ts';
import type { MadeLayer } from './image-cache.ts';
import type { BaseImage, SolverParts } from './seams.ts';

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
  /** When the newest of its layers was made, or what its image says; undefined for an empty one. */
  created: string | undefined;
  /** Which steps made which layers, oldest first. */
  made: readonly MadeLayer[];
  /** Declared arguments that have a value; stages built on this one know them too. */
  args: ReadonlyMap<string, string>;
}

/** A stage with nothing in it. */
export function emptyStage({ architecture, os, variant }: Platform): StageState {
  return {
    config: {},
    layers: [],
    chain: [],
    history: [],
    platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
    author: undefined,
    created: undefined,
    made: [],
    args: new Map(),
  };
}

/** A stage that begins with an image. */
export function stageOf({ config: image, layers, chain }: BaseImage): StageState {
  const { config = {}, history = [], author, created } = image;
  return { ...emptyStage(image), config: { ...config }, layers, chain, history, author, created };
}

/**
 * Runs `work` with a path that leads into the file system of a stage, to read it.
 *
 * @param chainId - undefined for an empty one
 */
export async function withStageRoot<T>(
  { layers, trees }: Pick<SolverParts, 'layers' | 'trees'>,
  chainId: Digest | undefined,
  work: (root: string) => Promise<T>,
): Promise<T> {
  // named like containers, so that the sweep for those finds what a crash leaves
  const key = randomBytes(32).toString('hex');
  const mounts = await layers.snapshots.view(key, chainId);
  try {
    using root = trees.open(mounts);
    return await work(root.path);
  } finally {
    await layers.snapshots.remove(key);
  }
}
