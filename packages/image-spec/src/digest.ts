/** Digests: `algorithm:hex`, parsed once at every border and branded from there on. */
import { ImageSpecError } from './errors.ts';

declare const digestBrand: unique symbol;

/**
 * A content digest that has been validated, for example `sha256:` and 64 lower-case hex digits.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
 */
export type Digest = string & { readonly [digestBrand]: true };

/** Algorithms whose content this project can verify. */
export type DigestAlgorithm = 'sha256' | 'sha512';

/** Hex length per algorithm. */
const HEX_LENGTH: Record<DigestAlgorithm, number> = { sha256: 64, sha512: 128 };

/**
 * Validates `text` as a digest of a registered algorithm.
 *
 * Algorithms that cannot be verified are refused: a digest is used as a path, so what is not checked must not pass.
 *
 * @throws {ImageSpecError} `INVALID_DIGEST`
 */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) {
    throw new ImageSpecError(
      'INVALID_DIGEST',
      `invalid digest ${JSON.stringify(text.slice(0, 160))}: expected sha256:<64 hex> or sha512:<128 hex>, lower case`,
    );
  }
  return text;
}

/** Whether `text` is a valid digest of a registered algorithm. */
export function isDigest(text: string): text is Digest {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]!.length === HEX_LENGTH[match[1] as DigestAlgorithm];
}

/** The algorithm of a digest. */
export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;
}

/** The hex part of a digest. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/**
 * The digest of `bytes`, by the platform's WebCrypto.
 *
 * For documents held in memory. Streams are hashed by {@link "content/verify".Verifier}.
 *
 * @param algorithm default `'sha256'`
 */
export async function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Promise<Digest> {
  const name = algorithm === 'sha256' ? 'SHA-256' : 'SHA-512';
  // a view onto shared memory is not accepted by WebCrypto, and its type says so
  const hash = await crypto.subtle.digest(name, bytes as Uint8Array<ArrayBuffer>);
  return `${algorithm}:${new Uint8Array(hash).reduce((hex, byte) => hex + byte.toString(16).padStart(2, '0'), '')}` as Digest;
}
