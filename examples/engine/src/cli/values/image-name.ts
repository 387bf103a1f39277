/** Image names as the command line takes and prints them. */
// by its parts: the schemas of all the rest would be most of what a command loads
import { ImageSpecError } from '@tare/image-spec/errors';
import {
  familiarReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from '@tare/image-spec/reference';
import { UsageError } from '../errors.ts';

/** What pull and push send to the daemon for an image name. */
export interface ImageName {
  /** `docker.io/library/busybox`. */
  repository: string;
  /** A tag or digest; empty when none was given. */
  target: string;
  /** `docker.io`, for looking up credentials. */
  registry: string;
  /** `busybox:1.37`. */
  familiar: string;
  /** `docker.io/library/busybox:1.37`. */
  canonical: string;
}

/**
 * Normalises a name.
 *
 * @param options.defaultTag whether a name with neither tag nor digest means `:latest`; default true
 * @throws {UsageError} for a name outside the grammar
 */
export function parseImageName(text: string, options: { defaultTag?: boolean } = {}): ImageName {
  let reference: Reference;
  try {
    reference = parseReference(text);
  } catch (cause) {
    if (cause instanceof ImageSpecError) throw new UsageError(explain(text, cause), { cause });
    throw cause;
  }
  if (options.defaultTag !== false) reference = withDefaultTag(reference);
  const repository = `${reference.registry}/${reference.repository}`;
  const suffix =
    (reference.tag ? `:${reference.tag}` : '') + (reference.digest ? `@${reference.digest}` : '');
  return {
    repository,
    target: reference.digest ?? reference.tag ?? '',
    registry: reference.registry,
    familiar: familiarReference(reference),
    canonical: repository + suffix,
  };
}

/** Docker's sentence for the most common mistake, ours for the rest. */
function explain(text: string, cause: ImageSpecError): string {
  const name = text.replace(/[:@].*$/s, '');
  if (cause.code !== 'INVALID_REFERENCE') return `invalid reference format: ${cause.message}`;
  if (name === name.toLowerCase() || name.includes('/')) return cause.message;
  return `invalid reference format: repository name (library/${name}) must be lowercase`;
}
