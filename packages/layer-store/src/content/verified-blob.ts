/** A blob as a stream that checks itself. */
import type { FileHandle } from 'node:fs/promises';
import type { Verifier } from '@tare/image-spec/content';

/** Bytes per read: large enough that the thread pool's hand-over does not show. */
const READ_CHUNK = 256 * 1024;

/** The bytes of one blob, which throws in place of its end when they are not what the descriptor says. */
export class VerifiedBlob implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #file: FileHandle;
  readonly #verifier: Verifier;
  readonly #signal: AbortSignal | undefined;
  #closed = false;

  constructor(file: FileHandle, verifier: Verifier, signal: AbortSignal | undefined) {
    this.#file = file;
    this.#verifier = verifier;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    try {
      this.#signal?.throwIfAborted();
      const { buffer, bytesRead } = await this.#file.read({
        buffer: Buffer.allocUnsafeSlow(READ_CHUNK),
        position: this.#verifier.size,
      });
      if (bytesRead === 0) {
        this.#verifier.end();
        return await this.return();
      }
      const chunk = buffer.subarray(0, bytesRead);
      this.#verifier.update(chunk);
      return { done: false, value: chunk };
    } catch (error) {
      await this.return();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.#closed) {
      this.#closed = true;
      await this.#file.close();
    }
    return { done: true, value: undefined };
  }
}
