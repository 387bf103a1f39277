/** What a content store in files can do beside keeping content. */
import type { Descriptor, Digest } from '@tare/image-spec';
import type { ContentOptions } from '@tare/image-spec/content';
import type { ArrivingBlob } from './arriving.ts';

/** A place for content of which nothing is known before it is written. */
export interface ContentCreator {
  /**
   * Writes `content` and returns its sha256 digest and size in bytes; it becomes visible at once and whole. Content that
   * is there already stays as it is.
   *
   * @param content - a piece of it need be valid only until the next is asked for
   */
  create(
    content: AsyncIterable<Uint8Array>,
    options?: ContentOptions,
  ): Promise<{ digest: Digest; size: number }>;
}

/** Optional power of a content store: its blobs are files. */
export interface BlobFiles {
  /**
   * The file of a blob, whether it is there or not; for readers that want the file itself (sendfile, a worker).
   *
   * @throws {ImageSpecError} `INVALID_DIGEST`
   */
  path(digest: Digest): string;
}

/** Optional power of a content store: its blobs can be read while they are being written. */
export interface ArrivingBlobs {
  /** The blob with this digest while this object is writing it. */
  arriving(digest: Digest): ArrivingBlob | undefined;

  /** Resolves as soon as the blob is in the store, or the first bytes of it are being written by this object. */
  begun(descriptor: Descriptor, options?: ContentOptions): Promise<void>;
}

/** Whether a content store has its blobs in files. */
export function hasFiles<T extends object>(content: T): content is T & BlobFiles {
  return 'path' in content && typeof content.path === 'function';
}

/** Whether blobs of a content store can be read while they are written. */
export function hasArrivals<T extends object>(content: T): content is T & ArrivingBlobs {
  return 'arriving' in content && typeof content.arriving === 'function';
}
