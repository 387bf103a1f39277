/** Content inside descriptors, and the empty object that stands where an artifact has nothing to say. */
import type { Descriptor } from './descriptor.ts';
import { digestAlgorithm, digestOf, parseDigest } from './digest.ts';
import { ImageSpecError } from './errors.ts';
import { MEDIA_TYPES } from './media-types.ts';

/** The bytes of the empty JSON object, `{}`. */
export const EMPTY_JSON: Uint8Array = new TextEncoder().encode('{}');

/**
 * Describes {@link EMPTY_JSON}: the config of an artifact without one, the layer of one without content.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
 */
export const EMPTY_DESCRIPTOR: Readonly<Descriptor> = Object.freeze({
  mediaType: MEDIA_TYPES.ociEmpty,
  digest: parseDigest('sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'),
  size: 2,
  data: 'e30=',
});

/**
 * The content that a descriptor carries with it (`data`), verified; undefined when it carries none.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT` for what is no base64, `SIZE_MISMATCH`, `DIGEST_MISMATCH`
 */
export async function embeddedContent(descriptor: Descriptor): Promise<Uint8Array | undefined> {
  const { data, digest, size } = descriptor;
  if (data === undefined) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new ImageSpecError('INVALID_DOCUMENT', `the data of ${digest} is not base64`, { cause });
  }
  if (bytes.byteLength !== size) {
    throw new ImageSpecError(
      'SIZE_MISMATCH',
      `the data of ${digest} has ${bytes.byteLength} bytes, not ${size}`,
    );
  }
  const actual = await digestOf(bytes, digestAlgorithm(digest));
  if (actual !== digest) {
    throw new ImageSpecError(
      'DIGEST_MISMATCH',
      `the data of ${digest} is something else: its digest is ${actual}`,
    );
  }
  return bytes;
}
