/** The OCI image layout: names and documents of an image in a directory or archive. */
import { z } from 'zod';
import { digestAlgorithm, digestHex, type Digest } from './digest.ts';
import { checkShape, decodeObject } from './document.ts';
import { imageIndexSchema, type ImageIndex } from './image-index.ts';

/** Name of the marker file. */
export const LAYOUT_FILE = 'oci-layout';
/** Name of the entry point. */
export const LAYOUT_INDEX_FILE = 'index.json';
/** Name of the directory of blobs. */
export const LAYOUT_BLOBS_DIRECTORY = 'blobs';
/** The layout version this project reads and writes. */
export const LAYOUT_VERSION = '1.0.0';

/** Annotation of an index entry: the name of the image, in a layout a tag or a whole reference. */
export const ANNOTATION_REF_NAME = 'org.opencontainers.image.ref.name';
/** Annotation of an index entry, written by containerd and Docker: the image's full reference. */
export const ANNOTATION_IMAGE_NAME = 'io.containerd.image.name';

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#oci-layout-file */
export const imageLayoutSchema = z.looseObject({ imageLayoutVersion: z.literal(LAYOUT_VERSION) });

/** The marker that makes a directory an image layout. */
export type ImageLayout = z.output<typeof imageLayoutSchema>;

/**
 * Parses the marker file.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT`, also for versions other than {@link LAYOUT_VERSION}
 */
export function parseImageLayout(bytes: Uint8Array): ImageLayout {
  return checkShape(imageLayoutSchema, decodeObject(bytes, LAYOUT_FILE), LAYOUT_FILE);
}

/**
 * Parses `index.json`, which has no descriptor of its own.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT`, `TOO_LARGE`
 */
export function parseLayoutIndex(bytes: Uint8Array): ImageIndex {
  return checkShape(imageIndexSchema, decodeObject(bytes, LAYOUT_INDEX_FILE), LAYOUT_INDEX_FILE);
}

/** Where a blob lies inside a layout, with `/` between the parts: `blobs/sha256/<hex>`. */
export function blobPath(digest: Digest): string {
  return `${LAYOUT_BLOBS_DIRECTORY}/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}
