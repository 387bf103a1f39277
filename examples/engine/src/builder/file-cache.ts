/** A step cache for programs without a database: a file a result, and the directories of cache mounts. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { descriptorSchema, digestSchema } from '@tare/image-spec';
import { z } from 'zod';

import { CacheMounts } from './cache-mounts.ts';
import type { StepCache } from './seams.ts';

const resultSchema = z.object({
  description: z.string(),
  createdAt: z.coerce.date().optional(),
  layer: z.object({ descriptor: descriptorSchema, diffId: digestSchema }),
});

/** Opens the cache below `directory`, which is the builder's own. Results stay until somebody removes their files. */
export function openFileCache(directory: string): StepCache {
  const steps = join(directory, 'steps');
  mkdirSync(steps, { recursive: true, mode: 0o700 });
  const pathOf = (key: string): string => join(steps, createHash('sha256').update(key).digest('hex'));
  return {
    get(key) {
      const path = pathOf(key);
      if (!existsSync(path)) return undefined;
      return resultSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    },
    use(key) {
      const now = new Date();
      utimesSync(pathOf(key), now, now);
    },
    put(key, layer, about) {
      const path = pathOf(key);
      writeFileSync(`${path}.new`, JSON.stringify({ ...about, layer }));
      renameSync(`${path}.new`, path);
    },
    collect: () => Promise.resolve(),
    mounts: new CacheMounts(join(directory, 'cache')),
  };
}
