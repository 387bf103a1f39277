/** The `platform` parameters that are JSON objects: of push, save, load, inspect, history and delete. */
import { formatPlatform, matchesPlatform, platformSchema, type Platform } from '@tare/image-spec';
import { invalid, notFound } from '../errors.ts';
import type { Image } from '../images/image.ts';
import type { RequestContext } from './context.ts';
import { decodeJson } from './json.ts';

/** @throws {EngineError} `INVALID` */
export function platformParameter(text: string | undefined): Platform | undefined {
  return text === undefined || text === '' ? undefined : decodeJson(text, platformSchema);
}

/**
 * The platform that a request names; a client of a version before `since` has no such parameter.
 *
 * @throws {EngineError} `INVALID`, also for more than one
 */
export function platformOf(context: RequestContext, since: string): Platform | undefined {
  if (!context.speaks(since)) return undefined;
  const values = context.query.getAll('platform');
  if (values.length > 1) throw invalid('multiple platform parameters not supported');
  return platformParameter(values[0]);
}

/**
 * The image, if it is for the platform; names have one platform here.
 *
 * @throws {EngineError} `NOT_FOUND` when it is for another one
 */
export function ofPlatform(image: Image, platform: Platform | undefined, reference: string): Image {
  const { os, architecture, variant } = image.config;
  const own: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  if (!platform || matchesPlatform(platform, own)) return image;
  throw notFound(
    `image with reference ${reference} was found but its platform (${formatPlatform(own)}) does not match the ` +
      `specified platform (${formatPlatform(platform)})`,
  );
}
