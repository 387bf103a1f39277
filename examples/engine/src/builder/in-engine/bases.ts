/** Base images: those of the engine, pulled when they are not here. */
import { formatReference, parseReference, platformOfProcess, withDefaultTag } from '@tare/image-spec';

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
  let image = found;
  if (pull !== 'never') {
    try {
      image = here(parts, await pullImage(parts, text, options));
    } catch (error) {
      // what is here will do, whatever the registry has
      if (found === undefined || !(error instanceof EngineError)) throw error;
      options.output.say(error.message);
    }
  }
  if (image) return image;
  throw notFound(`No such image: ${text}`);
}

/** @returns what the image is known by here */
async function pullImage(
  { puller }: Parts,
  text: string,
  { platform, auth, output, signal }: BaseOptions,
): Promise<string> {
  const named = withDefaultTag(parseReference(text));
  const request = {
    reference: named,
    auth: await auth(named.registry),
    ...(platform === undefined ? {} : { platform }),
  };
  // a name means the image that runs here: one for another machine has its digest alone
  const own = platformOfProcess(process);
  if (platform && (platform.os !== own.os || platform.architecture !== own.architecture)) {
    const { tag: _, ...untagged } = named;
    request.reference = { ...untagged, digest: await puller.manifestOf(request, { signal }) };
  }
  await puller.pull(
    request,
    ({ id, status, progressDetail }) => {
      const done = /complete|exists/.test(status);
      if (id === undefined || done) output.say(id === undefined ? status : `${id}: ${status}`);
      if (id === undefined) return;
      const { current = 0, total } = progressDetail ?? {};
      output.progress(id, { current, total, done });
    },
    { signal },
  );
  return formatReference(request.reference);
}

function here({ images }: Pick<Parts, 'images'>, text: string): Image | undefined {
  try {
    return images.resolve(text);
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
