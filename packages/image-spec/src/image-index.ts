/** Image indexes (Docker: manifest lists), and the choice of one image by platform. */
import { z } from 'zod';
import { descriptorSchema, type Descriptor, type Platform } from './descriptor.ts';
import { emptyable } from './document.ts';
import { ImageSpecError } from './errors.ts';
import { isIndexType, isManifestType } from './media-types.ts';
import { formatPlatform, platformRank } from './platform.ts';

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions */
export const imageIndexSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  manifests: z
    .array(descriptorSchema)
    .nullable()
    .transform((manifests) => manifests ?? []),
  subject: emptyable(descriptorSchema),
  annotations: emptyable(z.record(z.string(), z.string())),
});

/** A list of manifests, usually one per platform. Unknown keys are kept. */
export type ImageIndex = z.output<typeof imageIndexSchema>;

/**
 * Picks the manifest of `index` that runs best on `wanted`.
 *
 * An exact match wins, then the nearest older variant, then a 32-bit relative of the architecture (see
 * {@link "platform".platformRank}); among equals the first. Attestations (platform `unknown/unknown`) are never picked. When the index
 * holds a single image without a platform, that one is taken, since nothing says that it does not fit.
 *
 * @throws {ImageSpecError} `NO_MATCHING_PLATFORM`, naming what there is
 */
export function selectManifest(index: ImageIndex, wanted: Platform): Descriptor {
  const images = index.manifests.filter(
    (entry) => (isManifestType(entry.mediaType) || isIndexType(entry.mediaType)) && !isAttestation(entry),
  );
  let best: Descriptor | undefined;
  let bestRank = Infinity;
  for (const entry of images) {
    const rank = entry.platform === undefined ? Infinity : platformRank(wanted, entry.platform);
    if (rank < bestRank) {
      best = entry;
      bestRank = rank;
    }
  }
  if (best !== undefined) return best;
  if (images.length === 1 && images[0]!.platform === undefined) return images[0]!;
  const offered = images.flatMap((entry) => (entry.platform ? [formatPlatform(entry.platform)] : []));
  throw new ImageSpecError(
    'NO_MATCHING_PLATFORM',
    `no image for platform ${formatPlatform(wanted)}; there is ${[...new Set(offered)].slice(0, 20).join(', ') || 'none'}`,
  );
}

/** Whether an entry of an index describes another entry (provenance, SBOM) rather than being an image to run. */
export function isAttestation(entry: Descriptor): boolean {
  return (
    entry.platform?.os === 'unknown' ||
    entry.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
  );
}
