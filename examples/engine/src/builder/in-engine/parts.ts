/** The engine's own parts in the builder's seams: its images, its containers, its jobs. */
import type { FileHasher } from '@tare/layer-store';

import type { Containers } from '../../containers/containers.ts';
import type { RootSyscalls } from '../../containers/root-files.ts';
import type { Trees } from '../../containers/trees.ts';
import { createImage } from '../../images/create.ts';
import type { Images } from '../../images/images.ts';
import type { Indexes } from '../../images/indexes.ts';
import type { LayerUnpacker, Puller } from '../../images/pull.ts';
import type { OpenRepository } from '../../images/remote.ts';
import type { Job } from '../../jobs/job.ts';
import type { JobQueue } from '../../jobs/job-queue.ts';
import type { BuildCache } from '../cache.ts';
import { nameImage, type LayerMaker } from '../commit.ts';
import type { BuildLayers, SolverParts } from '../seams.ts';
import type { Solved } from '../solve.ts';
import { imageBases } from './bases.ts';
import { containerExecutor } from './executor.ts';
import type { Digest, Reference } from '@tare/image-spec';

/** What building in the engine works with. */
export interface BuildParts {
  images: Images;
  puller: Pick<Puller, 'pull' | 'manifestOf'>;
  openRepository: OpenRepository;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  containers: Pick<Containers, 'create' | 'start' | 'wait' | 'attach' | 'remove' | 'find' | 'holdStill'>;
  trees: Trees;
  syscalls: RootSyscalls;
  /** Hashes files of clients. */
  hasher: FileHasher | undefined;
  cache: BuildCache;
  /** Gets the images for other machines that a name is built for. */
  indexes: Indexes;
  jobs: JobQueue;
  /** For contexts and cache mounts; the builder's own. */
  directory: string;
}

/** The solver's parts for one build. @param job - of the build; its commands are jobs below it */
export function solverParts(parts: BuildParts, job: Job): SolverParts {
  return { ...quietParts(parts), executor: containerExecutor(parts, job) };
}

/** The same for any number of builds, without what runs commands. */
export function quietParts(parts: BuildParts): Omit<SolverParts, 'executor'> {
  const { images, cache, trees, syscalls, directory } = parts;
  return {
    layers: buildLayers(parts),
    bases: imageBases(parts),
    cache,
    leases: images.leases,
    trees,
    syscalls,
    directory,
  };
}

/** Blobs and file systems of the engine. */
export function buildLayers({
  images,
  unpacker,
  layers,
}: Pick<BuildParts, 'images' | 'unpacker' | 'layers'>): BuildLayers {
  return {
    content: images.content,
    snapshots: images.snapshots,
    unpackLayer: (layer, parent, options) => unpacker.unpackLayer(layer, parent, options),
    importLayer: (archive, options) => layers.importLayer(archive, options),
    commitArchive: (archive, parent, options) => layers.commitArchive(archive, parent, options),
  };
}

/** Makes a result an image of this engine, with names. @returns its id */
export async function saveImage(
  { images, unpacker }: Pick<BuildParts, 'images' | 'unpacker'>,
  solved: Pick<Solved, 'image'>,
  names: readonly Reference[],
  signal: AbortSignal,
): Promise<Digest> {
  const id = await createImage(images, unpacker, solved.image(), signal);
  images.emit('create', id, id, images.get(id).config.config?.Labels ?? {});
  for (const name of names) nameImage(images, id, name);
  return id;
}
