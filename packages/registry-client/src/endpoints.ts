/** Paths of the distribution spec's end-points, below `/v2/`. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints */
import { ImageSpecError, isDigest, isTag } from '@tare/image-spec';

/** end-2, end-10 */
export function blobPath(repository: string, digest: string): string {
  return `${repository}/blobs/${digest}`;
}

/** end-3, end-7, end-9. `reference` is a tag or a digest. */
export function manifestPath(repository: string, reference: string): string {
  return `${repository}/manifests/${reference}`;
}

/** end-4, end-11 */
export function uploadsPath(repository: string): string {
  return `${repository}/blobs/uploads/`;
}

/** end-8 */
export function tagsPath(repository: string): string {
  return `${repository}/tags/list`;
}

/** end-12 */
export function referrersPath(repository: string, digest: string): string {
  return `${repository}/referrers/${digest}`;
}

/** Not of the spec, but of the registry it grew from; many registries refuse it. */
export const CATALOG_PATH = '_catalog';

/** A reference becomes part of a URL's path. */
export function checkReference(reference: string): string {
  if (isTag(reference) || isDigest(reference)) return reference;
  throw invalidReference(reference, 'is neither a tag nor a digest');
}

export function invalidReference(reference: string, why: string): ImageSpecError {
  return new ImageSpecError('INVALID_REFERENCE', `${JSON.stringify(reference.slice(0, 160))} ${why}`);
}
