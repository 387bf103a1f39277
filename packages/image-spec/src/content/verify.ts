/**
 * Checks that bytes are what a descriptor says, while they pass.
 *
 * This package does no I/O and has no hash of its own for streams (WebCrypto offers only whole buffers), so callers
 * hand one in. In Node.js that is `createHash` of `node:crypto`, unchanged.
 */
import type { Descriptor } from '../descriptor.ts';
import { digestAlgorithm, digestHex, type DigestAlgorithm } from '../digest.ts';
import { ImageSpecError } from '../errors.ts';

/** An incremental hash; `Hash` of `node:crypto` is one. */
export interface Hasher {
  update(data: Uint8Array): unknown;
  /** The result in lower-case hex. Called once. */
  digest(encoding: 'hex'): string;
}

/** Makes an incremental hash; `createHash` of `node:crypto` is one. */
export type CreateHash = (algorithm: DigestAlgorithm) => Hasher;

/** What content is checked against. A whole {@link "../descriptor".Descriptor} will do. */
export type Expected = Pick<Descriptor, 'digest' | 'size'>;

/**
 * Checks content that arrives piece by piece: {@link Verifier.update} with every chunk in order, then
 * {@link Verifier.end}. Until `end` returned, the bytes must not be trusted.
 */
export class Verifier {
  readonly #expected: Expected;
  /** Undefined when the first bytes were left out. */
  readonly #hasher: Hasher | undefined;
  #size: number;

  /**
   * @param offset bytes left out before the first; other than 0, the size alone is checked
   * @throws {RangeError} when the content has no such byte
   */
  constructor(expected: Expected, createHash: CreateHash, offset = 0) {
    if (!(offset >= 0 && offset <= expected.size)) {
      throw new RangeError(
        `content of ${expected.digest} has ${expected.size} bytes and no offset ${offset}`,
      );
    }
    this.#expected = expected;
    this.#hasher = offset === 0 ? createHash(digestAlgorithm(expected.digest)) : undefined;
    this.#size = offset;
  }

  /** Bytes seen so far, and those left out. */
  get size(): number {
    return this.#size;
  }

  /** @throws {ImageSpecError} `SIZE_MISMATCH` as soon as there is more than there should be */
  update(chunk: Uint8Array): void {
    this.#size += chunk.byteLength;
    if (this.#size > this.#expected.size) {
      throw new ImageSpecError(
        'SIZE_MISMATCH',
        `content of ${this.#expected.digest} goes on after its ${this.#expected.size} bytes`,
      );
    }
    this.#hasher?.update(chunk);
  }

  /** @throws {ImageSpecError} `SIZE_MISMATCH` when bytes are missing, `DIGEST_MISMATCH` when they are wrong */
  end(): void {
    const { digest, size } = this.#expected;
    if (this.#size !== size) {
      throw new ImageSpecError(
        'SIZE_MISMATCH',
        `content of ${digest} ended after ${this.#size} of ${size} bytes`,
      );
    }
    if (this.#hasher === undefined) return;
    const actual = this.#hasher.digest('hex');
    if (actual !== digestHex(digest)) {
      throw new ImageSpecError(
        'DIGEST_MISMATCH',
        `content of ${digest} is something else: its digest is ${digestAlgorithm(digest)}:${actual}`,
      );
    }
  }
}

/**
 * Passes `content` through, and throws in place of its end when it is not what `expected` says. A stream that does so by
 * itself ({@link vouchFor}) is returned as it is.
 *
 * @throws {ImageSpecError} (the stream) `SIZE_MISMATCH`, `DIGEST_MISMATCH`
 */
export function verifyStream(
  expected: Expected,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  createHash: CreateHash,
): AsyncIterable<Uint8Array> {
  if (Symbol.asyncIterator in content && isVouchedFor(content, expected)) return content;
  return vouchFor(verified(expected, content, createHash), expected);
}

async function* verified(
  expected: Expected,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  createHash: CreateHash,
): AsyncGenerator<Uint8Array, void, undefined> {
  const verifier = new Verifier(expected, createHash);
  for await (const chunk of content) {
    verifier.update(chunk);
    yield chunk;
  }
  verifier.end();
}

/**
 * Collects a stream into one array.
 *
 * @param limitBytes most that is accepted
 * @throws {ImageSpecError} `TOO_LARGE`
 */
export async function readBytes(
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  limitBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of content) {
    size += chunk.byteLength;
    if (size > limitBytes) {
      throw new ImageSpecError(
        'TOO_LARGE',
        `content is longer than the ${limitBytes} bytes that are accepted here`,
      );
    }
    chunks.push(chunk);
  }
  if (chunks.length === 1) return chunks[0]!;
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

/** Streams that check themselves, and against what. */
const vouched = new WeakMap<AsyncIterable<Uint8Array>, Expected>();

/**
 * Says of a stream that it throws in place of its end when it is not what `expected` says, so that a sink of this process
 * need not hash it again. For sources that verify the whole of it, and for what passes the chunks of one on unchanged.
 *
 * @returns `content`
 */
export function vouchFor<T extends AsyncIterable<Uint8Array>>(content: T, expected: Expected): T {
  vouched.set(content, expected);
  return content;
}

/** Whether {@link vouchFor} was said of exactly this stream, for the same digest and size. */
export function isVouchedFor(content: AsyncIterable<Uint8Array>, expected: Expected): boolean {
  const by = vouched.get(content);
  return by !== undefined && by.digest === expected.digest && by.size === expected.size;
}
