/** Base images: those of the engine, pulled when they are not here. */
import { parseReference, withDefaultTag } from '@tare/image-spec';

import { EngineError, notFound } from '../../errors.ts';
import { layersOf } from '../../images/create.ts';
import type { Image } from '../../images/image.ts';
import type { CacheSource } from '../request.ts';
import { stepsOfImage } from '../image-cache.ts';
import type { Bases, BaseOptions } from '../seams.ts';
import type { BuildParts } from './parts.ts';

type Parts = Pick<BuildParts, 'images' | 'puller'>;

export function imageBases(parts: Parts): Bases {
  return {
    async find(reference, options) {
      const image = await find(parts, reference, options);
      // nothing that it is made of goes while it is read
      using _lease = parts.images.leases.hold([image.id, ...image.chain]);
      const { id, config, chain } = image;
      return { id, config, chain, layers: await layersOf(parts.images, image, options.signal) };
    },
    local: (reference) => here(parts, reference)?.config,
  };
}

/** Images as caches: they say which steps made their layers. @param pull - also from registries */
export function imageCaches(
  parts: Parts,
  references: readonly string[],
  options: Pick<BaseOptions, 'auth'> & { pull: boolean },
): CacheSource[] {
  return references.map((reference) => ({
    name: reference,
    // as dockerd: images that are not here are no caches
    quiet: !options.pull,
    async load({ output, hold, signal }) {
      const image = await imageBases(parts).find(reference, {
        platform: undefined,
        pull: options.pull ? 'always' : 'never',
        auth: (registry) => options.auth(registry),
        output,
        signal,
      });
      hold([image.id, ...image.chain, ...image.layers.map(({ descriptor }) => descriptor.digest)]);
      return stepsOfImage(image);
    },
  }));
}

async function find(parts: Parts, text: string, options: BaseOptions): Promise<Image> {
  const { platform, pull } = options;
  const found = here(parts, text);
  const fits =
    platform === undefined ||
    (found?.config.os === platform.os && found.config.architecture === platform.architecture);
  if (found && fits && pull !== 'always') return found;
  if (pull !== 'never') {
    try {
      await pullImage(parts, text, options);
    } catch (error) {
      // what is here will do, whatever the registry has
      if (found === undefined || !(error instanceof EngineError)) throw error;
      options.output.say(error.message);
    }
  }
  const image = here(parts, text);
  if (image) return image;
  throw notFound(`No such image: ${text}`);
}

async function pullImage(
  { puller }: Parts,
  text: string,
  { platform, auth, output, signal }: BaseOptions,
): Promise<void> {
  const reference = withDefaultTag(parseReference(text));
  const given = await auth(reference.registry);
  await puller.pull(
    { reference, auth: given, ...(platform === undefined ? {} : { platform }) },
    ({ id, status, progressDetail }) => {
      const done = /complete|exists/.test(status);
      if (id === undefined || done) output.say(id === undefined ? status : `${id}: ${status}`);
      if (id === undefined) return;
      const { current = 0, total } = progressDetail ?? {};
      output.progress(id, { current, total, done });
    },
    { signal },
  );
}

function here({ images }: Pick<Parts, 'images'>, text: string): Image | undefined {
  try {
    return images.resolve(text);
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
