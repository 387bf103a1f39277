/** A content store in memory: for tests, and for documents on their way somewhere. */
import type { Descriptor } from '../descriptor.ts';
import { digestAlgorithm, digestOf, type Digest } from '../digest.ts';
import { ImageSpecError } from '../errors.ts';
import type { ContentInfo, ContentOptions, ContentStore, FetchOptions, Resolver, Tagger } from './content.ts';
import { readBytes, vouchFor } from './verify.ts';

/** Keeps every blob in a Map, and names for them. Nothing is ever evicted. */
export class MemoryContent implements ContentStore, Resolver, Tagger {
  readonly #blobs = new Map<Digest, { bytes: Uint8Array; createdAt: Date }>();
  readonly #tags = new Map<string, Descriptor>();

  async fetch(descriptor: Descriptor, options: FetchOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    options.signal?.throwIfAborted();
    const { offset = 0 } = options;
    const blob = this.#blobs.get(descriptor.digest);
    if (blob === undefined) throw notFound(descriptor.digest);
    // the digest was verified on the way in, so only the descriptor can be wrong here
    checkSize(descriptor, blob.bytes);
    if (!(offset >= 0 && offset <= descriptor.size)) {
      throw new RangeError(
        `content of ${descriptor.digest} has ${descriptor.size} bytes and no offset ${offset}`,
      );
    }
    const content = (async function* () {
      options.signal?.throwIfAborted();
      if (blob.bytes.byteLength > offset) yield blob.bytes.subarray(offset);
    })();
    return offset === 0 ? vouchFor(content, descriptor) : content;
  }

  async has(descriptor: Descriptor, options: ContentOptions = {}): Promise<boolean> {
    options.signal?.throwIfAborted();
    return this.#blobs.has(descriptor.digest);
  }

  async push(
    descriptor: Descriptor,
    content: AsyncIterable<Uint8Array>,
    options: ContentOptions = {},
  ): Promise<void> {
    options.signal?.throwIfAborted();
    if (this.#blobs.has(descriptor.digest)) return;
    const bytes = await readBytes(abortable(content, options.signal), descriptor.size).catch(
      (error: unknown) => {
        if (error instanceof ImageSpecError && error.code === 'TOO_LARGE') {
          throw new ImageSpecError(
            'SIZE_MISMATCH',
            `content of ${descriptor.digest} goes on after its ${descriptor.size} bytes`,
            { cause: error },
          );
        }
        throw error;
      },
    );
    checkSize(descriptor, bytes);
    const actual = await digestOf(bytes, digestAlgorithm(descriptor.digest));
    if (actual !== descriptor.digest) {
      throw new ImageSpecError(
        'DIGEST_MISMATCH',
        `content of ${descriptor.digest} is something else: its digest is ${actual}`,
      );
    }
    this.#blobs.set(descriptor.digest, { bytes, createdAt: new Date() });
  }

  async info(digest: Digest, options: ContentOptions = {}): Promise<ContentInfo | undefined> {
    options.signal?.throwIfAborted();
    const blob = this.#blobs.get(digest);
    return blob && { digest, size: blob.bytes.byteLength, createdAt: blob.createdAt };
  }

  async delete(digest: Digest, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#blobs.delete(digest);
  }

  async *list(options: ContentOptions = {}): AsyncGenerator<ContentInfo, void, undefined> {
    for (const [digest, { bytes, createdAt }] of this.#blobs) {
      options.signal?.throwIfAborted();
      yield { digest, size: bytes.byteLength, createdAt };
    }
  }

  async resolve(reference: string, options: ContentOptions = {}): Promise<Descriptor> {
    options.signal?.throwIfAborted();
    const descriptor = this.#tags.get(reference);
    if (descriptor === undefined) throw notFound(reference);
    return descriptor;
  }

  async tag(descriptor: Descriptor, reference: string, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (!this.#blobs.has(descriptor.digest)) throw notFound(descriptor.digest);
    this.#tags.set(reference, descriptor);
  }
}

function checkSize(descriptor: Descriptor, bytes: Uint8Array): void {
  if (bytes.byteLength !== descriptor.size) {
    throw new ImageSpecError(
      'SIZE_MISMATCH',
      `content of ${descriptor.digest} has ${bytes.byteLength} bytes, not ${descriptor.size}`,
    );
  }
}

function notFound(name: string): ImageSpecError {
  return new ImageSpecError('NOT_FOUND', `${name} is not in this store`);
}

async function* abortable(content: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined) {
  for await (const chunk of content) {
    signal?.throwIfAborted();
    yield chunk;
  }
}
