/** Image names as clients show them, and as they are stored. */
import {
  familiarReference,
  formatReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from '@tare/image-spec';
import { invalid } from '../errors.ts';

/** The text before `:tag` and `@digest` in its stored form: `docker.io/library/busybox`. */
export function repositoryOf(reference: Reference): string {
  return `${reference.registry}/${reference.repository}`;
}

/** The stored form of a tagged name: `docker.io/library/busybox:latest`. A digest is left out. */
export function canonicalTag(reference: Reference): string {
  return `${repositoryOf(reference)}:${withDefaultTag(reference).tag}`;
}

/** The form clients show, of a stored one: `busybox:latest`. */
export function familiar(canonical: string): string {
  return familiarReference(parseReference(canonical));
}

/** `repository@digest` as clients show it. */
export function familiarDigest(repository: string, digest: string): string {
  return familiar(`${repository}@${digest}`);
}

/** 12 hex digits: the short form of ids in messages. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

/**
 * The name of `repo` and `tag` parameters.
 *
 * @throws {EngineError} `INVALID` for a missing repository, a digest, or a name that would be taken for a digest
 * @throws {ImageSpecError} `INVALID_REFERENCE`
 */
export function parseTagParameters(repo: string, tag: string): Reference {
  if (repo === '') throw invalid('repository name must not be empty');
  const reference = parseReference(repo);
  if (reference.digest !== undefined) throw invalid('refusing to create a tag with a digest reference');
  if (
    formatReference({ registry: reference.registry, repository: reference.repository }).endsWith('/sha256')
  ) {
    throw invalid('refusing to create an ambiguous tag using digest algorithm as name');
  }
  if (tag === '') return withDefaultTag(reference);
  // parsed again, so that a tag with a slash or a digest in it is refused by the grammar
  return parseReference(`${repositoryOf(reference)}:${tag}`);
}
