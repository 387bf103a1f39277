/** Hashes files on a thread of its own, by their descriptors: what is hashed is what was written, and no byte changes hands. */
import { closeSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { LayerStoreError } from '../errors.ts';

/** Options of {@link FileHasher}. */
export interface FileHasherOptions {
  /** A thread that had nothing to do for so long ends: it holds some megabytes. Default 5,000. */
  idleMs?: number;
}

/** A range of an open file that is added to a hash. */
interface HashPart {
  /** Of the hash. */
  id: number;
  fd: number;
  offset: number;
  length: number;
  /** Whether the hash is whole with it. */
  ends: boolean;
}

/** A hash that is whole, or of a file that could not be read. */
interface HashResult {
  id: number;
  /** sha256, in hexadecimal digits. */
  digest: string | undefined;
  /** Why there is none. */
  message: string;
}

/**
 * Adds parts to their hashes, and answers those that are whole. Of a file that could not be read, the rest is not, and its
 * digest is an error. Text, so that it is where this package is, however that was bundled.
 */
const PROGRAM = `
const { parentPort } = require('node:worker_threads');
const { readSync } = require('node:fs');
const { createHash } = require('node:crypto');
const buffer = Buffer.allocUnsafe(256 * 1024);
const hashes = new Map();
function added(hash, { fd, offset, length }) {
  if (hash instanceof Error) return hash;
  try {
    for (let at = 0; at < length;) {
      const got = readSync(fd, buffer, 0, Math.min(buffer.length, length - at), offset + at);
      if (got === 0) return new Error('it ends ' + (length - at) + ' bytes early');
      hash.update(buffer.subarray(0, got));
      at += got;
    }
    return hash;
  } catch (error) {
    return error;
  }
}
parentPort.on('message', (parts) => {
  const results = [];
  for (const part of parts) {
    const { id, ends } = part;
    const hash = added(hashes.get(id) ?? createHash('sha256'), part);
    hashes.set(id, hash);
    if (!ends) continue;
    hashes.delete(id);
    const failed = hash instanceof Error;
    results.push({ id, digest: failed ? undefined : hash.digest('hex'), message: failed ? hash.message : '' });
  }
  if (results.length > 0) parentPort.postMessage(results);
});
`;

/** Parts are handed over when there are so many bytes of them, or so long after the first: waking a thread is not for free. */
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_MS = 5;

interface Pending {
  resolve(digest: string): void;
  reject(error: Error): void;
  file: SharedFile;
}

/** Hashes with sha256. The thread starts when there is something to hash. Dispose of it at the end. */
export class FileHasher implements AsyncDisposable {
  readonly #options: FileHasherOptions;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #batch: HashPart[] = [];
  #batchBytes = 0;
  #flushing: NodeJS.Timeout | undefined;
  #lastId = 0;
  #closed = false;

  constructor(options: FileHasherOptions = {}) {
    this.#options = options;
  }

  /** @param fd - of a file that can be read; the caller may close it at any time */
  open(fd: number): HashedFile {
    return new SharedFile(fd, (file) => this.#begin(file));
  }

  /** Ends the thread; what is not hashed yet never will be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#end();
    this.#fail(new LayerStoreError('CLOSED', 'files are hashed no more'));
  }

  #begin(file: SharedFile): FileHash {
    if (this.#closed) throw new LayerStoreError('CLOSED', 'files are hashed no more');
    const id = (this.#lastId += 1);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    // heard by whoever asks for the digest
    promise.catch(() => undefined);
    this.#pending.set(id, { resolve, reject, file });
    const { fd } = file;
    return {
      add: (offset, length) => this.#send({ id, fd, offset, length, ends: false }),
      digest: () => {
        this.#send({ id, fd, offset: 0, length: 0, ends: true });
        return promise;
      },
    };
  }

  #send(part: HashPart): void {
    if (!this.#pending.has(part.id)) return;
    this.#batch.push(part);
    this.#batchBytes += part.length;
    if (this.#batchBytes >= BATCH_BYTES) this.#flush();
    else this.#flushing ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush(): void {
    clearTimeout(this.#flushing);
    this.#flushing = undefined;
    if (this.#batch.length === 0 || this.#closed) return;
    try {
      this.#worker ??= this.#start();
    } catch (cause) {
      // Node.js was started with --permission, and without --allow-worker
      this.#fail(new LayerStoreError('IO_ERROR', 'a thread to hash files cannot be started', { cause }));
      return;
    }
    clearTimeout(this.#idle);
    this.#worker.ref();
    this.#worker.postMessage(this.#batch, []);
    this.#batch = [];
    this.#batchBytes = 0;
  }

  #start(): Worker {
    const worker = new Worker(PROGRAM, {
      eval: true,
      name: 'hash files',
      execArgv: [],
      // its descriptors are closed by their owners
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    let cause: unknown;
    worker.on('error', (error) => (cause = error));
    worker.once('exit', () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#fail(new LayerStoreError('IO_ERROR', 'the thread that hashes files has ended', { cause }));
    });
    worker.on('message', (results: HashResult[]) => this.#take(results));
    return worker;
  }

  #take(results: readonly HashResult[]): void {
    for (const { id, digest, message } of results) {
      const pending = this.#pending.get(id);
      if (pending === undefined) continue;
      this.#pending.delete(id);
      pending.file.settled();
      if (digest !== undefined) pending.resolve(digest);
      else pending.reject(new LayerStoreError('IO_ERROR', `a file could not be hashed: ${message}`));
    }
    if (this.#pending.size > 0) return;
    // what waits for work keeps no process alive
    this.#worker?.unref();
    this.#idle = setTimeout(() => void this.#end(), this.#options.idleMs ?? 5_000).unref();
  }

  #fail(error: LayerStoreError): void {
    this.#batch = [];
    this.#batchBytes = 0;
    for (const [id, { reject, file }] of this.#pending) {
      this.#pending.delete(id);
      file.settled();
      reject(error);
    }
  }

  async #end(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}

/** A file that is hashed, whole or in parts. Dispose of it when no other hash of it is begun. */
export interface HashedFile extends Disposable {
  begin(): FileHash;
}

/** A hash in the making. Ask for its digest always: until then it is kept. */
export interface FileHash {
  /** Adds what is in the file there by now. */
  add(offset: number, length: number): void;
  /**
   * sha256 of everything that was added, in hexadecimal digits.
   *
   * @throws {LayerStoreError} `IO_ERROR` for what cannot be read, and when the thread ends; `CLOSED`
   */
  digest(): Promise<string>;
}

/** A descriptor of its own, that the thread may use until all hashes are settled. */
class SharedFile implements HashedFile {
  readonly fd: number;
  readonly #begin: (file: SharedFile) => FileHash;
  #unsettled = 0;
  #disposed = false;
  #closed = false;

  constructor(fd: number, begin: (file: SharedFile) => FileHash) {
    // also of a file without a name
    this.fd = openSync(`/proc/self/fd/${fd}`, 'r');
    this.#begin = begin;
  }

  begin(): FileHash {
    const hash = this.#begin(this);
    this.#unsettled += 1;
    return hash;
  }

  settled(): void {
    this.#unsettled -= 1;
    this.#close();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#close();
  }

  #close(): void {
    if (!this.#disposed || this.#unsettled > 0 || this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
  }
}
