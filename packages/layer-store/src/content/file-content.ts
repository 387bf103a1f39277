/** A content store in a directory: `<root>/blobs/<algorithm>/<hex>`, as in an OCI image layout. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import {
  digestAlgorithm,
  digestHex,
  isDigest,
  parseDigest,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import {
  Verifier,
  vouchFor,
  type ContentInfo,
  type ContentOptions,
  type ContentStore,
  type FetchOptions,
  type OpenContent,
  type ResumableSink,
} from '@tare/image-spec/content';
import { raceAbort } from '../abort.ts';
import { LayerStoreError } from '../errors.ts';
import { Arrival, type ArrivingBlob } from './arriving.ts';
import type { ArrivingBlobs, BlobFiles, ContentCreator } from './blob-files.ts';
import { FileHasher } from '../hash/file-hasher.ts';
import { ingest, isMissing, type IngestCheck } from './ingest.ts';
import { ingestResuming, sweepIngests } from './partial.ts';
import { VerifiedBlob } from './verified-blob.ts';
import { WrittenHash } from './written-hash.ts';

/**
 * Opens the store in `root`, making it when it is not there (private to its owner, mode 0700), and sweeps the
 * unfinished writes of processes that no longer run: transfers can be resumed for a week, the rest is removed. Several processes of one pid namespace may use one root at the same time.
 */
export async function openFileContent(root: string, options: ContentOptions = {}): Promise<FileContent> {
  options.signal?.throwIfAborted();
  await mkdir(root, { recursive: true, mode: 0o700 });
  await mkdir(join(root, 'blobs', 'sha256'), { recursive: true, mode: 0o700 });
  await mkdir(join(root, 'blobs', 'sha512'), { recursive: true, mode: 0o700 });
  await mkdir(join(root, 'ingest'), { recursive: true, mode: 0o700 });
  await sweepIngests(join(root, 'ingest'));
  return new FileContent(root);
}

/** Blobs as files. Made by {@link openFileContent}. */
export class FileContent implements ContentStore, ResumableSink, ContentCreator, BlobFiles, ArrivingBlobs {
  readonly #root: string;
  /** Blobs being written by this object, so that two pushes of one write it once. */
  readonly #arriving = new Map<Digest, Arrival>();
  /** Its thread ends by itself. */
  readonly #hasher = new FileHasher();
  /** Called when a blob begins to arrive, or has. */
  readonly #awaited = new Map<Digest, Set<() => void>>();

  /** Use {@link openFileContent}: it makes the directories and sweeps. */
  constructor(root: string) {
    this.#root = root;
  }

  path(digest: Digest): string {
    // parsed again although branded: this is the one place where a digest becomes a path
    const valid = parseDigest(digest);
    return join(this.#root, 'blobs', digestAlgorithm(valid), digestHex(valid));
  }

  /** The stream holds an open file until it ended, or until `return()` of its iterator. */
  async fetch(descriptor: Descriptor, options: FetchOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    options.signal?.throwIfAborted();
    const verifier = new Verifier(descriptor, createHash, options.offset);
    let file: FileHandle;
    try {
      file = await open(this.path(descriptor.digest), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new LayerStoreError('NOT_FOUND', `blob ${descriptor.digest} is not in the content store`, {
        cause: error,
      });
    }
    const content = new VerifiedBlob(file, verifier, options.signal);
    return verifier.size === 0 ? vouchFor(content, descriptor) : content;
  }

  async has(descriptor: Descriptor, options: ContentOptions = {}): Promise<boolean> {
    // a file of another size is damage: saying no makes the caller push it again, which repairs it
    return (await this.info(descriptor.digest, options))?.size === descriptor.size;
  }

  async push(
    descriptor: Descriptor,
    content: AsyncIterable<Uint8Array>,
    options: ContentOptions = {},
  ): Promise<void> {
    await this.#once(descriptor, options, (digest, arrival) => {
      const verifier = new Verifier(descriptor, createHash);
      const check: IngestCheck = {
        update: (chunk) => verifier.update(chunk),
        end: () => {
          verifier.end();
          return this.path(digest);
        },
      };
      return ingest(this.#ingestDir, check, content, options.signal, (path, bytes) =>
        arrival.grow(path, bytes),
      );
    });
  }

  async pushFrom(descriptor: Descriptor, open: OpenContent, options: ContentOptions = {}): Promise<void> {
    await this.#once(descriptor, options, (digest, arrival) =>
      ingestResuming(this.#ingestDir, this.path(digest), descriptor, open, options.signal, arrival),
    );
  }

  async create(
    content: AsyncIterable<Uint8Array>,
    options: ContentOptions = {},
  ): Promise<{ digest: Digest; size: number }> {
    await using hash = new WrittenHash(this.#hasher);
    let digest: Digest | undefined;
    const check: IngestCheck = {
      update: (chunk) => hash.update(chunk),
      end: async () => this.path((digest = await hash.digest())),
    };
    await ingest(this.#ingestDir, check, content, options.signal, (path, bytes) => hash.written(path, bytes));
    return { digest: digest!, size: hash.bytes };
  }

  arriving(digest: Digest): ArrivingBlob | undefined {
    return this.#arriving.get(digest);
  }

  async begun(descriptor: Descriptor, options: ContentOptions = {}): Promise<void> {
    const { digest } = descriptor;
    const { promise, resolve } = Promise.withResolvers<void>();
    const awaited = this.#awaited.get(digest) ?? new Set();
    this.#awaited.set(digest, awaited.add(resolve));
    try {
      if (await this.has(descriptor, options)) return;
      if ((this.#arriving.get(digest)?.bytes ?? 0) > 0) return;
      await raceAbort(promise, options.signal);
    } finally {
      awaited.delete(resolve);
      if (awaited.size === 0 && this.#awaited.get(digest) === awaited) this.#awaited.delete(digest);
    }
  }

  async info(digest: Digest, options: ContentOptions = {}): Promise<ContentInfo | undefined> {
    options.signal?.throwIfAborted();
    try {
      const { size, mtime } = await stat(this.path(digest));
      return { digest, size, createdAt: mtime };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async delete(digest: Digest, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    await rm(this.path(digest), { force: true });
  }

  async *list(options: ContentOptions = {}): AsyncGenerator<ContentInfo, void, undefined> {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      for (const hex of await readdir(join(this.#root, 'blobs', algorithm))) {
        const digest = `${algorithm}:${hex}`;
        if (!isDigest(digest)) continue;
        const info = await this.info(digest, options);
        if (info !== undefined) yield info;
      }
    }
  }

  get #ingestDir(): string {
    return join(this.#root, 'ingest');
  }

  /** Runs `write` unless the blob is there or being written, which is waited for. */
  async #once(
    descriptor: Descriptor,
    options: ContentOptions,
    write: (digest: Digest, arrival: Arrival) => Promise<void>,
  ): Promise<void> {
    const digest = parseDigest(descriptor.digest);
    for (;;) {
      if (await this.has(descriptor, options)) return;
      const running = this.#arriving.get(digest);
      if (running === undefined) break;
      // the other one may fail by its own fault: wait, look again, then push ours
      await raceAbort(
        running.arrived.catch(() => undefined),
        options.signal,
      );
    }
    const onBegin = (): void => this.#awaited.get(digest)?.forEach((begin) => begin());
    const expectation = { target: this.path(digest), sizeBytes: descriptor.size, onBegin };
    const arrival = new Arrival(expectation, (self) => write(digest, self));
    this.#arriving.set(digest, arrival);
    try {
      await arrival.arrived;
      // one without bytes never began
      onBegin();
    } finally {
      this.#arriving.delete(digest);
    }
  }
}
