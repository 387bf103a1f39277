/** Referrers: manifests about another manifest (signatures, bills of materials), and the lists that registries keep of them. */
import type { Descriptor } from './descriptor.ts';
import type { ManifestDocument } from './manifest.ts';

/** A manifest that has a subject. */
export interface Referral {
  /** What it is about. */
  subject: Descriptor;
  /** How the list of the subject's referrers names it: with its artifact type and annotations. */
  referrer: Descriptor;
}

/**
 * What a manifest or index refers to; undefined when it has no subject.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
 */
export function referralOf(document: ManifestDocument): Referral | undefined {
  const content = document.kind === 'manifest' ? document.manifest : document.index;
  if (content.subject === undefined) return undefined;
  const artifactType =
    content.artifactType || (document.kind === 'manifest' ? document.manifest.config.mediaType : undefined);
  const { mediaType, digest, size } = document.descriptor;
  return {
    subject: content.subject,
    referrer: {
      mediaType,
      digest,
      size,
      ...(artifactType && { artifactType }),
      ...(content.annotations && { annotations: content.annotations }),
    },
  };
}
