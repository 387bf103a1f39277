/**
 * The digest of a file that is being written: of a small one, by hashing what goes into it; of a larger one, by a thread that
 * reads after the writer, for hashing takes as long as everything else that is done to make a layer.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseDigest, type Digest } from '@tare/image-spec';
import type { FileHash, FileHasher, HashedFile } from '../hash/file-hasher.ts';

/** What hashing so much takes, starting a thread takes too. */
const MAX_HERE_BYTES = 4 * 1024 * 1024;

/** The sha256 digest of what is written to one file. Dispose of it. */
export class WrittenHash implements AsyncDisposable {
  readonly #hasher: FileHasher;
  /** Of everything, unless the thread has it. */
  #hash: Hash | undefined = createHash('sha256');
  #bytes = 0;
  #file: HashedFile | undefined;
  #left: FileHash | undefined;
  /** Bytes that were left to the thread. */
  #leftBytes = 0;

  constructor(hasher: FileHasher) {
    this.#hasher = hasher;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes what is going to be written next. */
  update(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength;
    this.#hash?.update(chunk);
  }

  /** Says that the first `bytes` are in the file `path`. */
  written(path: string, bytes: number): void {
    if (this.#left === undefined) {
      if (bytes <= MAX_HERE_BYTES || !mayLeave()) return;
      const fd = openSync(path, 'r');
      try {
        this.#file = this.#hasher.open(fd);
      } finally {
        closeSync(fd);
      }
      this.#left = this.#file.begin();
      this.#hash = undefined;
    }
    this.#left.add(this.#leftBytes, bytes - this.#leftBytes);
    this.#leftBytes = bytes;
  }

  /** The digest of all of it, which is written. @throws {LayerStoreError} `IO_ERROR` when the file cannot be read */
  async digest(): Promise<Digest> {
    const hex = this.#hash?.digest('hex') ?? (await this.#left!.digest());
    return parseDigest(`sha256:${hex}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // nobody wants it when writing has failed, but until it is there the thread has the file
    await this.#left?.digest().catch(() => undefined);
    this.#file?.[Symbol.dispose]();
  }
}

/** Whether a thread may be started, and would be of use. */
function mayLeave(): boolean {
  // Node.js may have been started with --permission, and without --allow-worker
  return availableParallelism() > 1 && (process.permission?.has('worker') ?? true);
}
