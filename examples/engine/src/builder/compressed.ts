/** Layers on their way out. A build leaves them uncompressed, for few are ever handed on. */
import { MEDIA_TYPES } from '@tare/image-spec';
import { createHash } from 'node:crypto';

import type { NewLayer } from '../images/create.ts';
import type { SolverParts } from './seams.ts';

/** Layers as others want them. What was compressed once is in the cache, as a result like those of steps. */
export async function compressedLayers<T extends NewLayer>(
  { layers, cache }: { layers: Pick<SolverParts['layers'], 'content' | 'importLayer'>; cache: Cache },
  plain: readonly T[],
  signal: AbortSignal,
): Promise<T[]> {
  const result: T[] = [];
  for (const layer of plain) {
    if (layer.descriptor.mediaType !== MEDIA_TYPES.ociLayer) {
      result.push(layer);
      continue;
    }
    const key = `sha256:${createHash('sha256').update(`compressed ${layer.diffId}`).digest('hex')}`;
    const known = cache.get(key)?.layer;
    if (known && (await layers.content.has(known.descriptor, { signal }))) {
      cache.use(key);
      result.push({ ...layer, descriptor: known.descriptor });
      continue;
    }
    const archive = await layers.content.fetch(layer.descriptor, { signal });
    const { descriptor } = await layers.importLayer(archive, { signal });
    cache.put(
      key,
      { descriptor, diffId: layer.diffId },
      { description: 'compressed layer', createdAt: new Date() },
    );
    result.push({ ...layer, descriptor });
  }
  return result;
}

type Cache = Pick<SolverParts['cache'], 'get' | 'use' | 'put'>;
