/** Results to registries: as images, and as caches for other engines. */
import {
  familiarReference,
  parseReference,
  referenceTarget,
  withDefaultTag,
  type Reference,
} from '@tare/image-spec';

import { imageDocuments } from '../../images/create.ts';
import { pushError } from '../../images/registry-errors.ts';
import type { RegistryAuth } from '../../images/remote.ts';
import { compressedLayers } from '../compressed.ts';
import { copyDocuments, indexOf, oneManifest, type Documents } from '../documents.ts';
import { cacheDocuments, readCache } from '../remote-cache.ts';
import type { CacheSource } from '../request.ts';
import type { Solved } from '../solve.ts';
import { imageCaches } from './bases.ts';
import { buildLayers, type BuildParts } from './parts.ts';

/** How a registry is spoken to. */
export interface RegistryOptions {
  auth(registry: string): Promise<RegistryAuth | undefined>;
  signal: AbortSignal;
}

/** What pushing needs of the engine. */
export type PushParts = Pick<BuildParts, 'images' | 'openRepository' | 'layers' | 'unpacker' | 'cache'>;

/** A result as others want it: its layers compressed. */
export async function compressedImage(
  parts: Pick<BuildParts, 'images' | 'layers' | 'unpacker' | 'cache'>,
  solved: Pick<Solved, 'image'>,
  signal: AbortSignal,
): Promise<ReturnType<Solved['image']>> {
  const image = solved.image();
  const all = { layers: buildLayers(parts), cache: parts.cache };
  return { ...image, layers: await compressedLayers(all, image.layers, signal) };
}

/** The results of a build as a cache for others. @param mode - `max` has the results of all steps */
export async function compressedCache(
  parts: Pick<BuildParts, 'images' | 'layers' | 'unpacker' | 'cache'>,
  solved: readonly Pick<Solved, 'results' | 'state'>[],
  mode: 'min' | 'max',
  signal: AbortSignal,
): Promise<Documents> {
  const results = new Map(solved.flatMap((one) => [...one.results]));
  const made = mode === 'max' ? 'max' : solved.flatMap(({ state }) => state.made);
  const documents = await cacheDocuments(results, made);
  const all = { layers: buildLayers(parts), cache: parts.cache };
  const layers = await compressedLayers(all, documents.layers, signal);
  const byDiffId = new Map(layers.map((layer) => [layer.diffId, layer]));
  const compressed = [...results].map(([key, layer]) => [key, byDiffId.get(layer.diffId) ?? layer] as const);
  return oneManifest(await cacheDocuments(new Map(compressed), made));
}

/** Several results as one image of several platforms. */
export async function compressedIndex(
  parts: Pick<BuildParts, 'images' | 'layers' | 'unpacker' | 'cache'>,
  results: readonly Pick<Solved, 'image' | 'state'>[],
  signal: AbortSignal,
): Promise<Documents> {
  const images = [];
  for (const solved of results) {
    const image = await compressedImage(parts, solved, signal);
    images.push({ image, platform: solved.state.platform });
  }
  return indexOf(images);
}

/** Pushes a result as an image. */
export async function pushImage(
  parts: PushParts,
  solved: Pick<Solved, 'image'>,
  name: Reference,
  options: RegistryOptions,
): Promise<void> {
  const image = await compressedImage(parts, solved, options.signal);
  const documents = oneManifest({ ...(await imageDocuments(image)), layers: image.layers });
  await pushDocuments(parts, name, documents, options);
}

/** Pushes the cache of a build. @param mode - `max` has the results of all steps */
export async function pushCache(
  parts: PushParts,
  solved: readonly Solved[],
  { reference, mode }: { reference: string; mode: 'min' | 'max' },
  options: RegistryOptions,
): Promise<void> {
  const name = parseReference(reference);
  const documents = await compressedCache(parts, solved, mode, options.signal);
  await pushDocuments(parts, name, documents, options);
}

/** Pushes what is a manifest or an index. */
export async function pushDocuments(
  { images, openRepository }: Pick<BuildParts, 'images' | 'openRepository'>,
  reference: Reference,
  documents: Documents,
  { auth, signal }: RegistryOptions,
): Promise<void> {
  const name = withDefaultTag(reference);
  try {
    const repository = await openRepository(name, { auth: await auth(name.registry) });
    await copyDocuments(images.content, repository, documents, signal);
    await repository.tag(documents.root, referenceTarget(name), { signal });
  } catch (error) {
    throw pushError(error);
  }
}

/** A cache, or an image, of a registry; only what is used is fetched. An image that is here will do instead. */
export function registryCache(
  parts: Pick<BuildParts, 'images' | 'puller' | 'openRepository'>,
  text: string,
  auth: RegistryOptions['auth'],
): CacheSource {
  return {
    name: text,
    async load(place) {
      const name = withDefaultTag(parseReference(text));
      try {
        const repository = await parts.openRepository(name, { auth: await auth(name.registry) });
        const root = await repository.resolve(referenceTarget(name), { signal: place.signal });
        return await readCache(repository, root, parts.images.content, place.signal);
      } catch (error) {
        place.signal.throwIfAborted();
        const [own] = imageCaches(parts, [familiarReference(name)], { pull: false, auth });
        return own!.load(place).catch(() => {
          throw error;
        });
      }
    },
  };
}
