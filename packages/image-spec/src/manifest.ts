/** Image manifests, OCI and Docker schema 2, and the one safe way to tell a manifest from an index. */
import { z } from 'zod';
import { descriptorSchema, type Descriptor } from './descriptor.ts';
import { checkShape, decodeObject, emptyable } from './document.ts';
import { ImageSpecError } from './errors.ts';
import { imageIndexSchema, type ImageIndex } from './image-index.ts';
import { isIndexType, isManifestType, isSchema1Type } from './media-types.ts';

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#image-manifest-property-descriptions */
export const imageManifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: descriptorSchema,
  /** Oldest first: index 0 is the base. */
  layers: z
    .array(descriptorSchema)
    .nullable()
    .transform((layers) => layers ?? []),
  subject: emptyable(descriptorSchema),
  annotations: emptyable(z.record(z.string(), z.string())),
});

/** One image (or artifact): its config and its layers, oldest first. Unknown keys are kept. */
export type ImageManifest = z.output<typeof imageManifestSchema>;

/** A parsed manifest or index, with the bytes it was parsed from: only those have its digest. */
export type ManifestDocument =
  | { kind: 'manifest'; descriptor: Descriptor; bytes: Uint8Array; manifest: ImageManifest }
  | { kind: 'index'; descriptor: Descriptor; bytes: Uint8Array; index: ImageIndex };

/** Keys that decide what a document is; a reader that ignores case must see the same ones. */
const DECISIVE_KEYS = ['schemaVersion', 'mediaType', 'manifests', 'config', 'layers', 'fsLayers'];

/**
 * Parses the bytes of a manifest or an index. The caller has verified them against the descriptor's digest.
 *
 * The descriptor's media type decides which of the two it is, and the document must agree: one that could be read as
 * both is refused, because two readers would then run two different images of one digest (CVE-2021-41190).
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT` with the JSON paths; `UNSUPPORTED` for Docker schema 1 and for media
 *   types that are neither manifest nor index; `TOO_LARGE` over {@link "document".MAX_DOCUMENT_BYTES}
 */
export function parseManifestDocument(bytes: Uint8Array, descriptor: Descriptor): ManifestDocument {
  const { mediaType, digest } = descriptor;
  if (isSchema1Type(mediaType)) throw schema1(`manifest ${digest}`);
  if (isIndexType(mediaType)) {
    const what = `image index ${digest}`;
    const value = decodeUnambiguous(bytes, mediaType, what);
    return { kind: 'index', descriptor, bytes, index: checkShape(imageIndexSchema, value, what) };
  }
  if (isManifestType(mediaType)) {
    const what = `image manifest ${digest}`;
    const value = decodeUnambiguous(bytes, mediaType, what);
    return { kind: 'manifest', descriptor, bytes, manifest: checkShape(imageManifestSchema, value, what) };
  }
  throw new ImageSpecError(
    'UNSUPPORTED',
    `${digest} is neither an image manifest nor an image index: its media type is ${JSON.stringify(mediaType)}`,
  );
}

/**
 * Parses the bytes of an image manifest; see {@link parseManifestDocument}.
 *
 * @throws {ImageSpecError} as there, and `INVALID_DOCUMENT` when it is an index
 */
export function parseImageManifest(bytes: Uint8Array, descriptor: Descriptor): ImageManifest {
  const document = parseManifestDocument(bytes, descriptor);
  if (document.kind === 'manifest') return document.manifest;
  throw new ImageSpecError(
    'INVALID_DOCUMENT',
    `${descriptor.digest} is an image index, not an image manifest`,
  );
}

/**
 * Parses the bytes of an image index; see {@link parseManifestDocument}.
 *
 * @throws {ImageSpecError} as there, and `INVALID_DOCUMENT` when it is a manifest
 */
export function parseImageIndex(bytes: Uint8Array, descriptor: Descriptor): ImageIndex {
  const document = parseManifestDocument(bytes, descriptor);
  if (document.kind === 'index') return document.index;
  throw new ImageSpecError(
    'INVALID_DOCUMENT',
    `${descriptor.digest} is an image manifest, not an image index`,
  );
}

/**
 * The media type of a manifest document that came without one: its own `mediaType`, else what its keys say.
 *
 * For documents from places that carry no content type, such as a file. A registry's answer has one.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT`, `UNSUPPORTED` (schema 1), `TOO_LARGE`
 */
export function detectManifestType(bytes: Uint8Array): string {
  const value = decodeObject(bytes, 'manifest');
  refuseAmbiguity(value, 'manifest');
  if (typeof value['mediaType'] === 'string') return value['mediaType'];
  if ('manifests' in value) return 'application/vnd.oci.image.index.v1+json';
  if ('config' in value || 'layers' in value) return 'application/vnd.oci.image.manifest.v1+json';
  throw new ImageSpecError('INVALID_DOCUMENT', 'manifest has no mediaType, no manifests and no config');
}

function decodeUnambiguous(bytes: Uint8Array, mediaType: string, what: string): Record<string, unknown> {
  const value = decodeObject(bytes, what);
  refuseAmbiguity(value, what);
  const own = value['mediaType'];
  if (own !== undefined && own !== '' && own !== mediaType) {
    throw new ImageSpecError(
      'INVALID_DOCUMENT',
      `${what} calls itself ${JSON.stringify(own)} but was delivered as ${JSON.stringify(mediaType)}`,
    );
  }
  return value;
}

/** @throws {ImageSpecError} `INVALID_DOCUMENT` for what readers may take for several things, `UNSUPPORTED` for schema 1 */
export function refuseAmbiguity(value: Record<string, unknown>, what: string): void {
  if (value['schemaVersion'] === 1 || isSchema1Type(String(value['mediaType']))) throw schema1(what);
  for (const key of Object.keys(value)) {
    const meant = DECISIVE_KEYS.find((known) => known.toLowerCase() === key.toLowerCase());
    if (meant !== undefined && meant !== key) {
      throw new ImageSpecError(
        'INVALID_DOCUMENT',
        `${what} is ambiguous: it has ${JSON.stringify(key)}, which some readers take for ${JSON.stringify(meant)}`,
      );
    }
  }
  const other = ['config', 'layers', 'fsLayers'].find((key) => key in value);
  if ('manifests' in value && other !== undefined) {
    throw new ImageSpecError(
      'INVALID_DOCUMENT',
      `${what} is ambiguous: it has both "manifests" (an index) and ${JSON.stringify(other)} (a manifest)`,
    );
  }
  if ('fsLayers' in value) throw schema1(what);
}

function schema1(what: string): ImageSpecError {
  return new ImageSpecError(
    'UNSUPPORTED',
    `${what} has Docker's schema 1 format, which is no longer supported: push the image again with a current tool`,
  );
}
