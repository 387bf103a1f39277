/** Blob uploads in chunks: a broken connection costs one chunk at most, and often only what the registry missed of it. */
import { createHash } from 'node:crypto';
import { verifyStream } from '@tare/image-spec/content';
import { RegistryError } from './errors.ts';
import { discard, resolveLocation, type HttpResponse } from './http.ts';
import type { RegistryHost } from './registry-host.ts';
import { retryDelayMs, wait, type RetryOptions } from './retry.ts';
import type { UploadJournal } from './upload-journal.ts';
import { cancelUpload, closeUpload, common, locationOf, type Upload } from './upload.ts';

/** How an upload is cut up. */
export interface Chunking {
  /** In bytes; a registry that wants larger ones gets them. One chunk is held in memory. */
  chunkBytes: number;
  retry: RetryOptions;
  /** Where it is written down how the upload goes on. */
  record: UploadRecord | undefined;
}

/** The entry of one upload in a journal. */
export class UploadRecord {
  readonly #journal: UploadJournal;
  readonly #key: string;

  constructor(journal: UploadJournal, { host }: RegistryHost, { repository, descriptor }: Upload) {
    this.#journal = journal;
    this.#key = `${host}/${repository}@${descriptor.digest}`;
  }

  keep(location: URL): Promise<void> {
    return this.#journal.set(this.#key, location.href);
  }

  forget(): Promise<void> {
    return this.#journal.delete(this.#key);
  }

  /** The upload that an earlier process began, when the registry still has it. */
  async reopen(host: RegistryHost, upload: Upload): Promise<ChunkedUpload | undefined> {
    const url = await this.#journal.get(this.#key);
    if (url === undefined) return undefined;
    try {
      const base = await host.url('', upload.signal);
      const location = resolveLocation(url, base, { method: 'GET', url: base });
      const status = await uploadStatus(host, upload, location);
      // whoever wrote more than the blob has wrote something else
      if (status.receivedBytes <= upload.descriptor.size) return { ...status, minChunkBytes: 0 };
    } catch (error) {
      // forgotten, or no upload of ours at all
      if (!(error instanceof RegistryError) || retryDelayMs(error, 0, {}) !== undefined) throw error;
    }
    await this.forget();
    return undefined;
  }
}

/** An upload to which chunks go. */
export interface ChunkedUpload {
  location: URL;
  /** The least that the registry wants at a time. */
  minChunkBytes: number;
  /** What the registry has of it. Default 0. */
  receivedBytes?: number;
}

/**
 * Sends all of `content` that the registry does not have to an opened upload, chunk by chunk, and closes it.
 *
 * After a failure the registry is asked how much it has, and gets the rest. The last chunk leaves only after the whole
 * was found right; when it is not, the upload is cancelled. It is not for a failure that may pass, when it is recorded.
 *
 * @throws {ImageSpecError} `SIZE_MISMATCH`, `DIGEST_MISMATCH`
 * @throws {RegistryError}
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
 */
export async function sendChunks(
  host: RegistryHost,
  upload: Upload,
  opened: ChunkedUpload,
  content: AsyncIterable<Uint8Array>,
  { chunkBytes, retry, record }: Chunking,
  onProgress: (transferredBytes: number) => void,
): Promise<void> {
  let { location, receivedBytes: sent = 0 } = opened;
  const rest = skip(verifyStream(upload.descriptor, content, createHash), sent);
  try {
    for await (const chunk of inChunks(rest, Math.max(chunkBytes, opened.minChunkBytes))) {
      location = await sendChunk(host, upload, location, { start: sent, bytes: chunk }, retry);
      await record?.keep(location);
      onProgress((sent += chunk.byteLength));
    }
    await closeUpload(host, upload, location);
  } catch (error) {
    const passes = upload.signal?.aborted === true || retryDelayMs(error, 0, retry) !== undefined;
    if (record === undefined || !passes) {
      await cancelUpload(host, upload, location);
      await record?.forget();
    }
    upload.signal?.throwIfAborted();
    throw error;
  }
  await record?.forget();
}

async function* skip(
  content: AsyncIterable<Uint8Array>,
  bytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = bytes;
  for await (const piece of content) {
    if (piece.byteLength > left) yield piece.subarray(left);
    left = Math.max(0, left - piece.byteLength);
  }
}

/** Gathers chunks of at least `size` bytes; the last may be smaller, and comes only after the source has ended. */
async function* inChunks(
  content: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const piece of content) {
    if (heldBytes >= size) {
      yield Buffer.concat(held);
      held = [];
      heldBytes = 0;
    }
    held.push(piece);
    heldBytes += piece.byteLength;
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}

async function sendChunk(
  host: RegistryHost,
  upload: Upload,
  location: URL,
  { start, bytes }: { start: number; bytes: Uint8Array },
  retry: RetryOptions,
): Promise<URL> {
  const end = start + bytes.byteLength;
  let offset = start;
  for (let failures = 0; ; failures++) {
    try {
      const response = await host.call({
        ...common(upload),
        method: 'PATCH',
        path: location,
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${offset}-${end - 1}`,
        },
        body: bytes.subarray(offset - start),
        // not blindly: the registry may have taken it, or a part, before the line broke
        retry: false,
        expect: [202],
      });
      await discard(response);
      return locationOf(response, 'PATCH');
    } catch (error) {
      upload.signal?.throwIfAborted();
      // 416: the registry has more or less than we believe
      const outOfStep = error instanceof RegistryError && error.status === 416 && failures === 0;
      const delayMs = outOfStep ? 0 : retryDelayMs(error, failures, retry);
      if (delayMs === undefined) throw error;
      upload.onRetry?.(error, delayMs);
      await wait(delayMs, upload.signal);
      const status = await uploadStatus(host, upload, location);
      if (status.receivedBytes < start || status.receivedBytes > end) throw error;
      if (status.receivedBytes > offset) failures = 0;
      ({ location, receivedBytes: offset } = status);
      if (offset === end) return location;
    }
  }
}

async function uploadStatus(
  host: RegistryHost,
  upload: Upload,
  location: URL,
): Promise<{ location: URL; receivedBytes: number }> {
  const response = await host.call({
    ...common(upload),
    method: 'GET',
    path: location,
    expect: [204, 200],
  });
  await discard(response);
  return {
    location: response.headers.location === undefined ? location : locationOf(response, 'GET'),
    receivedBytes: receivedBytes(response),
  };
}

/** `Range: 0-99` is 100 bytes. For an empty upload registries write `0-0`, which is taken for none. */
function receivedBytes({ headers }: HttpResponse): number {
  const last = Number(/^(?:bytes=)?0-(\d+)$/.exec(String(headers.range ?? ''))?.[1] ?? 0);
  return last === 0 ? 0 : last + 1;
}
