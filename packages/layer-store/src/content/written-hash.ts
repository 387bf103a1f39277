/**
 * The digest of a file that is being written: of a small one, by hashing what goes into it; of a larger one, by a thread that
 * reads after the writer, for hashing takes as long as everything else that is done to make a layer.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { parseDigest, type Digest } from '@tare/image-spec';
import { LayerStoreError, systemCode } from '../errors.ts';

/** What hashing so much takes, starting a thread takes too. */
const MAX_HELD_BYTES = 8 * 1024 * 1024;

/** Text, so that it is where this package is, however that was bundled. It reads until it is told that there is no more. */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { readSync } = require('node:fs');
const hash = require('node:crypto').createHash('sha256');
const buffer = Buffer.allocUnsafe(256 * 1024);
let at = 0;
parentPort.on('message', ({ bytes, whole }) => {
  while (at < bytes) {
    const got = readSync(workerData.fd, buffer, 0, Math.min(buffer.length, bytes - at), at);
    if (got === 0) throw new Error('the file has become shorter than what was written to it');
    hash.update(buffer.subarray(0, got));
    at += got;
  }
  if (!whole) return;
  parentPort.postMessage(hash.digest('hex'));
  parentPort.close();
});
`;

/** The sha256 digest of what is written to one file. Dispose of it. */
export class WrittenHash implements AsyncDisposable {
  readonly #hash = createHash('sha256');
  /** What is not hashed yet, while it is not known whether a thread will do it. */
  #held: Uint8Array[] | undefined = availableParallelism() > 1 ? [] : undefined;
  #bytes = 0;
  #thread: HashThread | undefined;

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes what is going to be written next. It must stay as it is. */
  update(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength;
    if (this.#thread !== undefined) return;
    if (this.#held === undefined) this.#hash.update(chunk);
    else this.#held.push(chunk);
  }

  /** Says that the first `bytes` are in the file `path`. */
  written(path: string, bytes: number): void {
    if (this.#held !== undefined && bytes > MAX_HELD_BYTES) {
      try {
        this.#thread = new HashThread(path);
      } catch (error) {
        // Node.js was started with --permission, and without --allow-worker
        if (systemCode(error) !== 'ERR_ACCESS_DENIED') throw error;
        this.#hashHeld();
      }
      this.#held = undefined;
    }
    this.#thread?.tell(bytes, false);
  }

  /** The digest of all of it, which is written. @throws {LayerStoreError} `IO_ERROR` when the file cannot be read */
  async digest(): Promise<Digest> {
    this.#hashHeld();
    const hex = this.#thread === undefined ? this.#hash.digest('hex') : await this.#thread.end(this.#bytes);
    return parseDigest(`sha256:${hex}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.[Symbol.asyncDispose]();
  }

  #hashHeld(): void {
    for (const chunk of this.#held ?? []) this.#hash.update(chunk);
    this.#held = undefined;
  }
}

/** Hashes a file as far as it is told that it goes. */
class HashThread implements AsyncDisposable {
  readonly #fd: number;
  readonly #worker: Worker;
  readonly #hex = Promise.withResolvers<string>();

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
    try {
      this.#worker = new Worker(PROGRAM, {
        eval: true,
        workerData: { fd: this.#fd },
        execArgv: [],
        trackUnmanagedFds: false,
      });
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
    // heard by who asks for the end
    this.#hex.promise.catch(() => undefined);
    const fail = (cause?: unknown): void =>
      this.#hex.reject(new LayerStoreError('IO_ERROR', `cannot hash ${path}`, { cause }));
    this.#worker
      .on('message', this.#hex.resolve)
      .on('error', fail)
      .on('exit', () => fail());
  }

  tell(bytes: number, whole: boolean): void {
    this.#worker.postMessage({ bytes, whole }, []);
  }

  end(bytes: number): Promise<string> {
    this.tell(bytes, true);
    return this.#hex.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
    closeSync(this.#fd);
  }
}
