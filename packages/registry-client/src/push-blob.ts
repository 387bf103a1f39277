/** Gets one blob into a repository in the cheapest way: it is there, the registry takes it from elsewhere, or it is sent. */
import type { Descriptor } from '@tare/image-spec';
import { isVouchedFor, vouchFor, type OpenContent } from '@tare/image-spec/content';
import { sendChunks, UploadRecord, type ChunkedUpload } from './chunked-upload.ts';
import { RegistryError } from './errors.ts';
import type { Tell } from './progress.ts';
import type { RegistryHost } from './registry-host.ts';
import { retryDelayMs, wait, type RetryOptions } from './retry.ts';
import type { UploadJournal } from './upload-journal.ts';
import { hasBlob, openUpload, sendBlob, type Upload } from './upload.ts';

/** A blob on its way into a repository. */
export interface BlobPush extends Upload {
  /** Other repositories of the registry that may have it. */
  mountFrom: readonly string[];
  /** Larger blobs go in chunks of this size. */
  chunkBytes: number | undefined;
  /** Where uploads in chunks are written down. */
  uploads: UploadJournal | undefined;
  retry: RetryOptions;
  tell: Tell | undefined;
  /** Whether the content can be opened more than once, so that a broken upload can be made anew. */
  repeatable: boolean;
}

type Target = ChunkedUpload;

/**
 * Pushes what `open` gives, which is not called when the registry has the blob or can mount it.
 *
 * @throws {ImageSpecError} `SIZE_MISMATCH`, `DIGEST_MISMATCH`
 * @throws {RegistryError} and what the content throws
 */
export async function pushBlob(host: RegistryHost, push: BlobPush, open: OpenContent): Promise<void> {
  const { descriptor, tell, signal } = push;
  const record = recordOf(host, push);
  let target = await begin(host, push, record);
  for (let failures = 0; target !== undefined; failures++) {
    const source = { broken: false };
    const content = watch(await open(0), descriptor, source);
    tell?.('start', target.receivedBytes ?? 0);
    try {
      await send(host, push, target, content, record);
      return tell?.('done', descriptor.size);
    } catch (error) {
      signal?.throwIfAborted();
      const delayMs = source.broken ? undefined : againIn(push, error, failures);
      if (delayMs === undefined) throw error;
      tell?.('retry', 0, { error, delayMs });
      await wait(delayMs, signal);
      target = await openUntilMounted(host, push);
    }
  }
}

/** The upload to send to; undefined when there is nothing to send. */
async function begin(
  host: RegistryHost,
  push: BlobPush,
  record: UploadRecord | undefined,
): Promise<Target | undefined> {
  const { descriptor, mountFrom, tell } = push;
  if (await hasBlob(host, push)) {
    tell?.('exists', descriptor.size);
    await record?.forget();
    return undefined;
  }
  const begun = await record?.reopen(host, push);
  if (begun !== undefined) return begun;
  for (const from of mountFrom) {
    const opened = await openUpload(host, push, from).catch(refusedMount);
    if (opened?.mounted === true) {
      tell?.('mounted', descriptor.size, { from });
      return undefined;
    }
    // the registry cannot mount it and has opened an upload instead: that one is used
    if (opened !== undefined) return opened;
  }
  return openUntilMounted(host, push);
}

async function openUntilMounted(host: RegistryHost, push: BlobPush): Promise<Target | undefined> {
  const opened = await openUpload(host, push);
  return opened.mounted ? undefined : opened;
}

async function send(
  host: RegistryHost,
  push: BlobPush,
  target: Target,
  content: AsyncIterable<Uint8Array>,
  record: UploadRecord | undefined,
): Promise<void> {
  const { chunkBytes, retry } = push;
  const onProgress = (bytes: number) => push.tell?.('progress', bytes);
  if (chunkBytes !== undefined && inChunks(push))
    await sendChunks(host, push, target, content, { chunkBytes, retry, record }, onProgress);
  else await sendBlob(host, push, target.location, content, onProgress);
}

function inChunks({ descriptor, chunkBytes = Infinity }: BlobPush): boolean {
  return descriptor.size > chunkBytes;
}

function recordOf(host: RegistryHost, push: BlobPush): UploadRecord | undefined {
  return push.uploads === undefined || !inChunks(push)
    ? undefined
    : new UploadRecord(push.uploads, host, push);
}

/** When to begin anew after an upload in one request failed; chunks have had their own tries. */
function againIn(push: BlobPush, error: unknown, failures: number): number | undefined {
  if (!push.repeatable || inChunks(push)) return undefined;
  // the token ran out before the last byte was through; the next one is at hand
  if (error instanceof RegistryError && error.status === 401 && failures === 0) return 0;
  return retryDelayMs(error, failures, push.retry);
}

/** Registries answer variously when they do not allow a mount; an upload is always possible. */
function refusedMount(error: unknown): undefined {
  const refused: readonly string[] = ['NOT_FOUND', 'DENIED', 'UNAUTHORIZED', 'UNSUPPORTED', 'REFUSED'];
  if (error instanceof RegistryError && refused.includes(error.code)) return undefined;
  throw error;
}

/** `content`, noting when it is itself what breaks: then another upload would break as well. */
function watch(
  content: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
  source: { broken: boolean },
): AsyncIterable<Uint8Array> {
  const watched = (async function* () {
    try {
      yield* content;
    } catch (error) {
      source.broken = true;
      throw error;
    }
  })();
  return isVouchedFor(content, descriptor) ? vouchFor(watched, descriptor) : watched;
}
