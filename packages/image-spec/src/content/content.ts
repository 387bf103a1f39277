/**
 * The blob contracts: where content comes from and where it goes.
 *
 * A registry repository, a directory and a Map implement the same interfaces, so pull, push, save and load are one
 * function, {@link "copy".copyGraph}.
 */
import type { Descriptor } from '../descriptor.ts';
import type { Digest } from '../digest.ts';

/** Options of every content call. */
export interface ContentOptions {
  /** Cancels the call; it rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** Options of {@link ContentSource.fetch}. */
export interface FetchOptions extends ContentOptions {
  /** The byte to begin with, up to the content's size: for a reader that has those before. Default 0. */
  offset?: number;
}

/** Something content can be read from. */
export interface ContentSource {
  /**
   * Opens the bytes of `descriptor` as a stream.
   *
   * Size and digest are checked while streaming: the stream throws `SIZE_MISMATCH` or `DIGEST_MISMATCH` in place of
   * its end. Until it ended without an error the bytes must not be trusted. Of a stream with an `offset` the source
   * checks the size alone: the digest is for the reader to check, who has the whole.
   *
   * @throws {ContainerError} `NOT_FOUND`
   */
  fetch(descriptor: Descriptor, options?: FetchOptions): Promise<AsyncIterable<Uint8Array>>;
}

/** Something content can be written to. */
export interface ContentSink {
  /** Whether the content is there, whole and visible to readers. */
  has(descriptor: Descriptor, options?: ContentOptions): Promise<boolean>;

  /**
   * Writes `content`, which must be exactly what `descriptor` says.
   *
   * A chunk belongs to the sink from then on: the giver does not use its buffer again.
   * The content becomes visible only after size and digest were verified, and atomically. Pushing what is there
   * already succeeds without effect (the stream may be left unread). Success means "stored", not "stored by you".
   *
   * @throws {ContainerError} `SIZE_MISMATCH`, `DIGEST_MISMATCH`
   */
  push(descriptor: Descriptor, content: AsyncIterable<Uint8Array>, options?: ContentOptions): Promise<void>;
}

/** Opens content at a byte; see {@link FetchOptions.offset}. */
export type OpenContent = (offset: number) => Promise<AsyncIterable<Uint8Array>>;

/** A sink that keeps what arrived of content whose source broke, and asks for no more than the rest the next time. */
export interface ResumableSink extends ContentSink {
  /**
   * Does what {@link ContentSink.push} does with content that it opens itself, at the first byte it lacks; not at all
   * when it has everything. Calls that meet for the same content open it once.
   *
   * @throws {ContainerError} `SIZE_MISMATCH`, `DIGEST_MISMATCH`; then nothing was kept
   */
  pushFrom(descriptor: Descriptor, open: OpenContent, options?: ContentOptions): Promise<void>;
}

/** What a store knows of one blob. */
export interface ContentInfo {
  digest: Digest;
  /** In bytes. */
  size: number;
  createdAt: Date;
}

/** A place that keeps blobs by digest. */
export interface ContentStore extends ContentSource, ContentSink {
  /** The blob's record, or undefined when it is not there. */
  info(digest: Digest, options?: ContentOptions): Promise<ContentInfo | undefined>;

  /** Removes a blob. Readers that have it open finish. Removing what is not there does nothing. */
  delete(digest: Digest, options?: ContentOptions): Promise<void>;

  /** Every visible blob, in no particular order. */
  list(options?: ContentOptions): AsyncIterable<ContentInfo>;
}

/** Something that turns a name (a tag or a digest) into a descriptor. */
export interface Resolver {
  /** @throws {ContainerError} `NOT_FOUND` */
  resolve(reference: string, options?: ContentOptions): Promise<Descriptor>;
}

/** Something that can give names to content it holds. */
export interface Tagger {
  /** Points `reference` at `descriptor`, moving it if it pointed elsewhere. */
  tag(descriptor: Descriptor, reference: string, options?: ContentOptions): Promise<void>;
}
