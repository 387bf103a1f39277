/** Cache in images: an image says which steps made its layers, so that a build elsewhere can take them from it. */
import type { Digest } from '@tare/image-spec';
import { z } from 'zod';

import type { ImportedResult } from './request.ts';
import type { BaseImage } from './seams.ts';

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

/** The results that an image has, by the keys of their steps. */
export function stepsOfImage({ config, layers }: BaseImage): Map<string, ImportedResult> {
  const times = (config.history ?? []).filter(({ empty_layer: empty }) => empty !== true);
  const byDiffId = new Map(
    layers.map((layer, i) => {
      const { created } = times[i] ?? {};
      return [
        layer.diffId as string,
        { ...layer, createdAt: created === undefined ? undefined : new Date(created) },
      ];
    }),
  );
  return new Map(
    recordedSteps(config).flatMap(({ key, diffId }) => {
      const layer = byDiffId.get(diffId);
      return layer ? [[key, layer] as const] : [];
    }),
  );
}

/** What a config says of the steps that made its layers; nothing that is not in its form. */
export function recordedSteps(config: object): { key: string; diffId: string }[] {
  const steps = stepsSchema.safeParse((config as Record<string, unknown>)[FIELD]);
  return steps.success ? steps.data : [];
}
