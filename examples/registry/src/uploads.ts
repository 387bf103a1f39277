/** Blob uploads in several requests: each is a file that grows until its digest is told. */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ApiError } from './errors.ts';

/** One upload. `size` is what has arrived so far, in bytes. */
export interface Upload {
  readonly id: string;
  readonly repository: string;
  size: number;
}

/** The uploads under way. They do not outlive the process: a client that was cut off begins anew. */
export class Uploads {
  readonly #root: string;
  readonly #uploads = new Map<string, Upload>();
  /** Uploads that a request is writing to: two at once would mix their bytes. */
  readonly #busy = new Set<Upload>();

  private constructor(root: string) {
    this.#root = root;
  }

  /** Removes what a former process left below `root`. */
  static async open(root: string): Promise<Uploads> {
    await rm(root, { recursive: true, force: true });
    await mkdir(root, { recursive: true });
    return new Uploads(root);
  }

  begin(repository: string): Upload {
    const upload = { id: randomUUID(), repository, size: 0 };
    this.#uploads.set(upload.id, upload);
    return upload;
  }

  /** @throws {ApiError} `BLOB_UPLOAD_UNKNOWN` */
  get(repository: string, id: string): Upload {
    const upload = this.#uploads.get(id);
    if (upload?.repository !== repository) throw new ApiError('BLOB_UPLOAD_UNKNOWN', `no upload ${id} here`);
    return upload;
  }

  /** Runs `work` as the only one that uses `upload`. @throws {ApiError} `BLOB_UPLOAD_INVALID` when another does */
  async exclusively<T>(upload: Upload, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(upload)) {
      throw new ApiError('BLOB_UPLOAD_INVALID', `another request is writing to upload ${upload.id}`);
    }
    this.#busy.add(upload);
    try {
      return await work();
    } finally {
      this.#busy.delete(upload);
    }
  }

  /** Appends a body. When it breaks off, the upload is as it was before. */
  async append(upload: Upload, body: Readable): Promise<void> {
    const file = createWriteStream(this.#path(upload), { flags: 'a' });
    try {
      await pipeline(body, file);
      upload.size += file.bytesWritten;
    } catch (error) {
      await truncate(this.#path(upload), upload.size).catch((failure: NodeJS.ErrnoException) => {
        if (failure.code !== 'ENOENT') throw failure;
      });
      throw error;
    }
  }

  /** All that was appended. */
  read(upload: Upload): AsyncIterable<Uint8Array> {
    return upload.size === 0
      ? nothing()
      : createReadStream(this.#path(upload), { highWaterMark: 256 * 1024 });
  }

  async end(upload: Upload): Promise<void> {
    this.#uploads.delete(upload.id);
    await rm(this.#path(upload), { force: true });
  }

  #path({ id }: Upload): string {
    return join(this.#root, id);
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
