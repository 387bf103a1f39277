/** Blob uploads in several requests: each is a file that grows until its digest is told. They outlive the process. */
import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isRepositoryName } from '@tare/image-spec';
import { ApiError } from './errors.ts';

/** One upload. `size` is what has arrived so far, in bytes. */
export interface Upload {
  readonly id: string;
  readonly repository: string;
  size: number;
}

/** An upload that nobody went on with for so long is forgotten when the registry starts. In milliseconds: a week. */
const MAX_AGE_MS = 7 * 24 * 60 * 60 * 1_000;
/** Of the file that says which repository an upload is for. */
const SUFFIX = '.repository';

/** The uploads under way. */
export class Uploads {
  readonly #root: string;
  readonly #uploads: Map<string, Upload>;
  /** Uploads that a request is writing to: two at once would mix their bytes. */
  readonly #busy = new Set<Upload>();

  private constructor(root: string, uploads: Map<string, Upload>) {
    this.#root = root;
    this.#uploads = uploads;
  }

  /** Takes up what a former process left below `root`, and removes what is too old or belongs to nothing. */
  static async open(root: string): Promise<Uploads> {
    await mkdir(root, { recursive: true });
    const found = new Map<string, Upload>();
    for (const name of await readdir(root)) {
      const id = name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : undefined;
      const upload = id === undefined ? undefined : await readUpload(root, id);
      if (upload !== undefined) found.set(upload.id, upload);
    }
    for (const name of await readdir(root)) {
      if (!found.has(name.replace(SUFFIX, ''))) await rm(join(root, name), { force: true });
    }
    return new Uploads(root, found);
  }

  async begin(repository: string): Promise<Upload> {
    const upload = { id: randomUUID(), repository, size: 0 };
    await writeFile(this.#path(upload) + SUFFIX, repository);
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

  /** Appends a body. What has arrived when it breaks off stays: the client asks how much that is, and sends the rest. */
  async append(upload: Upload, body: Readable): Promise<void> {
    const path = this.#path(upload);
    try {
      await pipeline(body, createWriteStream(path, { flags: 'a' }));
    } finally {
      upload.size = await sizeOf(path);
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
    await rm(this.#path(upload) + SUFFIX, { force: true });
  }

  #path({ id }: Upload): string {
    return join(this.#root, id);
  }
}

async function readUpload(root: string, id: string): Promise<Upload | undefined> {
  const repository = await readFile(join(root, id + SUFFIX), 'utf8');
  const { mtimeMs } = await stat(join(root, id + SUFFIX));
  const size = await sizeOf(join(root, id));
  const touched = size === 0 ? mtimeMs : (await stat(join(root, id))).mtimeMs;
  // a crash may have left the name of the file without its content
  if (!isRepositoryName(repository) || Date.now() - touched > MAX_AGE_MS) return undefined;
  return { id, repository, size };
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
