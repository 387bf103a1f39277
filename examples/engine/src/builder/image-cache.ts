/** Cache in images: an image says which steps made its layers, so that a build elsewhere can take them from it. */
import { parseReference, withDefaultTag, type Digest, type ImageConfig } from '@tare/image-spec';
import { z } from 'zod';

import { EngineError, messageOf } from '../errors.ts';
import { layersOf, type NewLayer } from '../images/create.ts';
import type { RegistryAuth } from '../images/remote.ts';
import { asStep, type BuildOutput, type BuildParts } from './state.ts';

/** Field of an image's config. Configs keep what they do not know, so it passes through registries and other engines. */
const FIELD = 'tare.build.steps';

const stepsSchema = z.array(z.object({ key: z.string().regex(/^sha256:[0-9a-f]{64}$/), diffId: z.string() }));

/** A step and the layer it made. */
export interface MadeLayer {
  key: string;
  diffId: Digest;
}

/** What to add to the config of an image made by these steps. */
export function withSteps(steps: readonly MadeLayer[]): Record<string, unknown> {
  return steps.length > 0 ? { [FIELD]: steps } : {};
}

/** What images are looked for with. */
export interface ImageCacheOptions {
  /** Ask registries for images that are not here. */
  pull: boolean;
  auth(registry: string): Promise<RegistryAuth | undefined>;
  signal: AbortSignal;
  /** Gets what keeps the images' layers for as long as the build. */
  hold(keys: readonly string[]): void;
}

/** The results that images have, by the keys of their steps. An image that cannot be had is a warning. */
export async function cacheOfImages(
  parts: Pick<BuildParts, 'images' | 'puller'>,
  references: readonly string[],
  output: BuildOutput,
  options: ImageCacheOptions,
): Promise<Map<string, NewLayer>> {
  const found = new Map<string, NewLayer>();
  for (const reference of references) {
    const step = {
      id: `cache ${reference}`,
      name: `importing cache manifest from ${reference}`,
      text: '',
      kind: 'transfer' as const,
      inputs: [],
    };
    await asStep(output, step, () => cacheOfImage(parts, reference, options, found)).catch(
      (error: unknown) => {
        options.signal.throwIfAborted();
        if (options.pull) output.warn(`no cache of ${reference}: ${messageOf(error)}`);
      },
    );
  }
  return found;
}

async function cacheOfImage(
  { images, puller }: Pick<BuildParts, 'images' | 'puller'>,
  text: string,
  { pull, auth, signal, hold }: ImageCacheOptions,
  found: Map<string, NewLayer>,
): Promise<void> {
  if (pull) {
    const reference = withDefaultTag(parseReference(text));
    const given = await auth(reference.registry);
    await puller
      .pull({ reference, auth: given }, () => undefined, { signal })
      .catch((error: unknown) => {
        // what is here will do
        if (!(error instanceof EngineError) || !isHere(images, text)) throw error;
      });
  }
  const image = images.resolve(text);
  hold([image.id, ...image.chain]);
  const layers = await layersOf(images, image, signal);
  hold(layers.map(({ descriptor }) => descriptor.digest));
  const byDiffId = new Map(layers.map((layer) => [layer.diffId as string, layer]));
  for (const { key, diffId } of stepsOf(image.config)) {
    const layer = byDiffId.get(diffId);
    if (layer && !found.has(key)) found.set(key, layer);
  }
}

function isHere(images: BuildParts['images'], text: string): boolean {
  try {
    images.resolve(text);
    return true;
  } catch {
    // the caller has the reason already
    return false;
  }
}

function stepsOf(config: ImageConfig): { key: string; diffId: string }[] {
  const steps = stepsSchema.safeParse((config as Record<string, unknown>)[FIELD]);
  return steps.success ? steps.data : [];
}
