/** The images that pass a filter. */
import { parseReference } from '@tare/image-spec';
import { matchesGlob } from 'node:path';
import { Filters } from '../filters.ts';
import { parseTimestamp } from '../time.ts';
import { invalid } from '../errors.ts';
import type { Image } from './image.ts';
import type { Images } from './images.ts';

/** Filter keys of the list. */
export const IMAGE_FILTERS = [
  'before',
  'dangling',
  'label',
  'label!',
  'reference',
  'since',
  'until',
] as const;

/**
 * Images that pass `filters`, newest first. With a `reference` filter only the names that match it are left.
 *
 * @throws {EngineError} `NOT_FOUND` for an unknown image in `before` or `since`
 */
export function listImages(images: Images, filters: Filters): Image[] {
  const dangling = filters.bool('dangling');
  const before = bound(images, filters, 'before', Math.min);
  const since = bound(images, filters, 'since', Math.max);
  const untilNs = filters.timestamp('until');
  return images
    .all()
    .map((image) => narrowNames(image, filters))
    .filter((image) => {
      const created = createdMs(image);
      return (
        (!filters.has('reference') || image.repoTags.length + image.repoDigests.length > 0) &&
        (dangling === undefined || dangling === isDangling(image)) &&
        (before === undefined || created < before) &&
        (since === undefined || created > since) &&
        (untilNs === undefined || BigInt(created) * 1_000_000n < untilNs) &&
        filters.matchesLabels(image.config.config?.Labels)
      );
    })
    .sort((a, b) => createdMs(b) - createdMs(a) || (a.id < b.id ? -1 : 1));
}

/** Without a name of any kind. */
export function isDangling(image: Image): boolean {
  return image.repoTags.length === 0 && image.repoDigests.length === 0;
}

/** When the image was built, in milliseconds since the epoch; 0 when it does not say. */
export function createdMs(image: Image): number {
  const { created } = image.config;
  const ns = created === undefined ? undefined : parseTimestamp(created);
  return ns === undefined ? 0 : Number(ns / 1_000_000n);
}

function bound(
  images: Images,
  filters: Filters,
  key: 'before' | 'since',
  pick: (...times: number[]) => number,
): number | undefined {
  const values = filters.values(key);
  return values.length === 0 ? undefined : pick(...values.map((value) => createdMs(images.resolve(value))));
}

function narrowNames(image: Image, filters: Filters): Image {
  if (!filters.has('reference')) return image;
  const matches = (name: string): boolean =>
    filters.any('reference', (pattern) => matchesName(pattern, name));
  return {
    ...image,
    repoTags: image.repoTags.filter(matches),
    repoDigests: image.repoDigests.filter(matches),
  };
}

/** Matches the familiar name, with or without tag or digest, against a shell pattern; `*` does not cross slashes. */
function matchesName(pattern: string, name: string): boolean {
  if (pattern === '') throw invalid("invalid filter 'reference='");
  const bare = name.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  // a pattern that is a full name matches its familiar form
  const candidates = [pattern, withoutHub(pattern)];
  return candidates.some((candidate) => matchesGlob(name, candidate) || matchesGlob(bare, candidate));
}

function withoutHub(pattern: string): string {
  try {
    const { registry } = parseReference(pattern);
    return registry === 'docker.io' ? pattern.replace(/^docker\.io\/(library\/)?/, '') : pattern;
  } catch {
    // a pattern with wildcards is no reference, and needs no short form
    return pattern;
  }
}
