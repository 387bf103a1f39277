/**
 * Results of steps as something to hand on: a manifest whose config says which steps made the layers. It is written as an
 * image manifest, so that every registry keeps it; images that were built here are read in the same way.
 */
import { parseImageManifest, type Descriptor, type Digest } from '@tare/image-spec';
import { readBytes, type ContentSource, type ContentStore } from '@tare/image-spec/content';
import {
  MEDIA_TYPES,
  isIndexType,
  parseImageIndex,
  selectManifest,
  platformOfProcess,
} from '@tare/image-spec';
import { z } from 'zod';

import { documentOf } from '../images/create.ts';
import type { ManifestDocuments } from './documents.ts';
import { recordedSteps, withSteps, type MadeLayer } from './image-cache.ts';
import type { ImportedResult } from './request.ts';
import type { UsedResults } from './results.ts';

/** Config of a cache that is no image. */
const CACHE_CONFIG = 'application/vnd.tare.build.cache.config.v1+json';

/** Larger manifests and configs are refused. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;

const configSchema = z.looseObject({ rootfs: z.looseObject({ diff_ids: z.array(z.string()) }) });

/**
 * The cache of a build.
 *
 * @param made - `max`: the results of all steps; otherwise only those that are in the result, as its state has them
 */
export async function cacheDocuments(
  results: UsedResults,
  made: readonly MadeLayer[] | 'max',
): Promise<ManifestDocuments> {
  const keys = new Set(made === 'max' ? results.keys() : made.map(({ key }) => key));
  // sorted: the same results make the same cache, in whatever order they came
  const chosen = [...results].filter(([key]) => keys.has(key)).sort(([a], [b]) => (a < b ? -1 : 1));
  const layers = [...new Map(chosen.map(([, layer]) => [layer.diffId, layer])).values()];
  const steps = chosen.map(([key, { diffId }]) => ({ key, diffId }));
  const config = await documentOf(
    CACHE_CONFIG,
    encode({ ...withSteps(steps), rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) } }),
  );
  const manifest = await documentOf(
    MEDIA_TYPES.ociManifest,
    encode({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
    }),
  );
  return { config, manifest, layers };
}

/** The results that a manifest of `source` tells of; their blobs go to `content` when they are used. */
export async function readCache(
  source: ContentSource,
  root: Descriptor,
  content: ContentStore,
  signal: AbortSignal,
): Promise<Map<string, ImportedResult>> {
  const read = async (descriptor: Descriptor): Promise<Uint8Array> =>
    readBytes(await source.fetch(descriptor, { signal }), MAX_DOCUMENT_BYTES);
  const descriptor = isIndexType(root.mediaType)
    ? selectManifest(parseImageIndex(await read(root), root), platformOfProcess(process))
    : root;
  const manifest = parseImageManifest(await read(descriptor), descriptor);
  const document: unknown = JSON.parse(Buffer.from(await read(manifest.config)).toString('utf8'));
  const config = configSchema.parse(document);
  const byDiffId = new Map(config.rootfs.diff_ids.map((diffId, i) => [diffId, manifest.layers[i]] as const));
  return new Map(
    recordedSteps(config).flatMap(({ key, diffId }) => {
      const layer = byDiffId.get(diffId);
      if (layer === undefined) return [];
      const fetch = async (signal: AbortSignal): Promise<void> => {
        if (await content.has(layer, { signal })) return;
        await content.push(layer, await source.fetch(layer, { signal }), { signal });
      };
      return [[key, { descriptor: layer, diffId: diffId as Digest, fetch }] as const];
    }),
  );
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
