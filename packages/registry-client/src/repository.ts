/** One repository of a registry, as a source and sink of content. */
import {
  isIndexType,
  isManifestType,
  isSchema1Type,
  isTag,
  type Descriptor,
  type Reference,
} from '@tare/image-spec';
import {
  isVouchedFor,
  vouchFor,
  type ContentOptions,
  type ContentSource,
  type FetchOptions,
  type OpenContent,
  type ResumableSink,
  type Resolver,
  type Tagger,
} from '@tare/image-spec/content';
import { repositoryScope } from './auth/scope.ts';
import { openDownload, tellOf, type Download } from './download.ts';
import { blobPath, checkReference, invalidReference, tagsPath } from './endpoints.ts';
import { discard } from './http.ts';
import { hasManifest, resolveManifest } from './manifests.ts';
import { listPages } from './pagination.ts';
import type { OnTransfer, Tell, TransferEvent } from './progress.ts';
import { pushBlob, type BlobPush } from './push-blob.ts';
import { listReferrers } from './referrers.ts';
import type { RegistryHost } from './registry-host.ts';
import { ReadHosts } from './read-hosts.ts';
import { RepositoryManifests } from './repository-manifests.ts';
import type { RetryOptions } from './retry.ts';
import type { UploadJournal } from './upload-journal.ts';
import { hasBlob } from './upload.ts';

/** What a {@link Repository} is made of; see {@link "client".RegistryClient.repository}. */
export interface RepositoryParts {
  reference: Reference;
  /** The registry itself. */
  origin: RegistryHost;
  /** Asked before it for everything that is read. */
  mirrors: readonly RegistryHost[];
  retry: RetryOptions;
  onTransfer?: OnTransfer | undefined;
  /** Other repositories of the registry that may have what is pushed here. */
  mountFrom: readonly string[];
  /** Larger blobs are sent in chunks of this size. */
  chunkBytes?: number | undefined;
  /** Where those are written down. */
  uploads?: UploadJournal | undefined;
}

/**
 * A repository: content by descriptor, names by tag.
 *
 * Reads go to the mirrors first, in order, and to the registry when none has it; writes go to the registry. References
 * are tags or digests, without the repository's name.
 */
export class Repository implements ContentSource, ResumableSink, Resolver, Tagger {
  /** Registry and repository, and the tag or digest it was opened with. */
  readonly reference: Reference;
  readonly #parts: RepositoryParts;
  readonly #hosts: ReadHosts;
  readonly #manifests: RepositoryManifests;

  constructor(parts: RepositoryParts) {
    this.reference = parts.reference;
    this.#parts = parts;
    this.#hosts = new ReadHosts(parts.origin, parts.mirrors);
    this.#manifests = new RepositoryManifests(parts.origin, this.#name, (ask, signal) =>
      this.#hosts.read(ask, signal),
    );
  }

  /**
   * The descriptor of a tag or digest.
   *
   * @param reference default: the tag or digest the repository was opened with, else `latest`
   * @throws {RegistryError} `NOT_FOUND`, `UNAUTHORIZED`, `DENIED`, `RATE_LIMITED`, `UNREACHABLE`, …
   */
  async resolve(reference?: string, options: ContentOptions = {}): Promise<Descriptor> {
    const { signal } = options;
    signal?.throwIfAborted();
    const wanted = checkReference(reference ?? this.reference.digest ?? this.reference.tag ?? 'latest');
    return this.#hosts.read(async (host) => {
      const { descriptor, bytes } = await resolveManifest(host, this.#name, wanted, {
        scopes: this.#pull,
        signal,
      });
      if (bytes !== undefined) this.#manifests.keep(descriptor.digest, bytes);
      return descriptor;
    }, signal);
  }

  /**
   * Opens a manifest or a blob; which of the two it is follows from its media type. A blob's connection is held until
   * the stream was read to its end or left.
   *
   * @throws {RegistryError} as {@link Repository.resolve}
   */
  async fetch(descriptor: Descriptor, options: FetchOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    const { signal, offset = 0 } = options;
    signal?.throwIfAborted();
    if (isManifest(descriptor)) {
      const bytes = await this.#manifests.fetch(descriptor, signal);
      return once(bytes.subarray(offset));
    }
    return this.#hosts.read(async (host) => {
      const tell = this.#teller('pull', descriptor, host);
      let transferred = offset;
      const download: Download = {
        repository: this.#name,
        descriptor,
        offset,
        scopes: this.#pull,
        retry: this.#parts.retry,
        signal,
        onWrong: (by) => this.#hosts.pause(by),
        ...(tell && {
          onProgress: (bytes) => tell('progress', (transferred = bytes)),
          onRetry: (error, delayMs) => tell('retry', transferred, { error, delayMs }),
        }),
      };
      const { origin } = this.#parts;
      const content = await openDownload(host, host === origin ? undefined : origin, download);
      if (tell === undefined) return content;
      const told = tellOf(content, download, tell);
      return isVouchedFor(content, descriptor) ? vouchFor(told, descriptor) : told;
    }, signal);
  }

  /** Asks the registry itself, not its mirrors: the answer decides whether a push is needed. */
  async has(descriptor: Descriptor, options: ContentOptions = {}): Promise<boolean> {
    options.signal?.throwIfAborted();
    const { origin } = this.#parts;
    const call = { scopes: this.#pull, signal: options.signal };
    if (isManifest(descriptor)) return hasManifest(origin, this.#name, descriptor, call);
    return hasBlob(origin, { repository: this.#name, descriptor, ...call });
  }

  /**
   * Stores a manifest under its digest, or a blob. What the registry has is not sent; what another repository has is
   * mounted from there (`mountFrom`).
   *
   * A blob is sent once and not again when the connection breaks, because its stream is gone then (see
   * {@link Repository.pushFrom}); one that is larger than `chunkBytes` goes in chunks, which are.
   */
  async push(
    descriptor: Descriptor,
    content: AsyncIterable<Uint8Array>,
    options: ContentOptions = {},
  ): Promise<void> {
    options.signal?.throwIfAborted();
    if (isManifest(descriptor)) return this.#manifests.push(descriptor, content, options.signal);
    await this.#pushBlob(descriptor, async () => content, false, options.signal);
  }

  /**
   * As {@link Repository.push}, with content that can be opened again: a broken upload is made anew. Always from the
   * first byte: what goes on is an upload in chunks.
   */
  async pushFrom(descriptor: Descriptor, open: OpenContent, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (isManifest(descriptor)) return this.#manifests.push(descriptor, await open(0), options.signal);
    await this.#pushBlob(descriptor, open, true, options.signal);
  }

  /**
   * Points the tag `reference` at a manifest that is in the repository.
   *
   * @throws {RegistryError} `NOT_FOUND` when the manifest is not
   */
  async tag(descriptor: Descriptor, reference: string, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    await this.#manifests.tag(descriptor, checkReference(reference), options.signal);
  }

  /**
   * Every tag, in the registry's order (by the spec, lexical).
   *
   * @param options.pageSize names per request; default: the registry's choice
   */
  tags(options: ContentOptions & { pageSize?: number } = {}): AsyncIterable<string> {
    const call = { scopes: this.#pull, signal: options.signal };
    return listPages(this.#parts.origin, tagsPath(this.#name), 'tags', call, options.pageSize);
  }

  /**
   * Deletes a manifest (with all its tags) or a blob. What is not there is no error.
   *
   * @throws {RegistryError} `UNSUPPORTED` when the registry does not allow deletion
   */
  async delete(descriptor: Descriptor, options: ContentOptions = {}): Promise<void> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (isManifest(descriptor)) return this.#manifests.delete(descriptor, signal);
    const response = await this.#parts.origin.call({
      method: 'DELETE',
      path: blobPath(this.#name, descriptor.digest),
      scopes: [repositoryScope(this.#name, 'delete')],
      expect: [202, 200, 204, 404],
      signal,
    });
    await discard(response);
  }

  /**
   * Deletes a tag; the manifest stays. What is not there is no error.
   *
   * @throws {RegistryError} `UNSUPPORTED`, `REFUSED` when the registry deletes whole manifests alone
   */
  async untag(tag: string, options: ContentOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (!isTag(tag)) throw invalidReference(tag, 'is no tag');
    await this.#manifests.remove(tag, options.signal);
  }

  /**
   * The manifests whose subject is `subject`: signatures, bills of materials, attestations. Comes from the referrers API,
   * or from the fallback tag where the registry lacks it.
   *
   * @param options.artifactType only those of this type
   */
  referrers(
    subject: Descriptor,
    options: ContentOptions & { artifactType?: string } = {},
  ): AsyncIterable<Descriptor> {
    const call = { scopes: this.#pull, signal: options.signal };
    return listReferrers(this.#parts.origin, this.#name, subject.digest, call, options.artifactType);
  }

  get #name(): string {
    return this.reference.repository;
  }

  get #pull(): string[] {
    return [repositoryScope(this.#name, 'pull')];
  }

  get #push(): string[] {
    return [repositoryScope(this.#name, 'pull', 'push')];
  }

  #pushBlob(
    descriptor: Descriptor,
    open: OpenContent,
    repeatable: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { origin, mountFrom, chunkBytes, uploads, retry } = this.#parts;
    const tell = this.#teller('push', descriptor, origin);
    const push: BlobPush = {
      repository: this.#name,
      descriptor,
      scopes: this.#push,
      signal,
      mountFrom,
      chunkBytes,
      uploads,
      retry,
      tell,
      repeatable,
      ...(tell && { onRetry: (error, delayMs) => tell('retry', 0, { error, delayMs }) }),
    };
    return pushBlob(origin, push, open);
  }

  #teller(
    direction: TransferEvent['direction'],
    descriptor: Descriptor,
    { host }: RegistryHost,
  ): Tell | undefined {
    const { onTransfer } = this.#parts;
    if (onTransfer === undefined) return undefined;
    return (kind, transferredBytes, more) =>
      onTransfer({
        kind,
        direction,
        descriptor,
        transferredBytes,
        totalBytes: descriptor.size,
        host,
        ...more,
      });
  }
}

function isManifest({ mediaType }: Descriptor): boolean {
  return isManifestType(mediaType) || isIndexType(mediaType) || isSchema1Type(mediaType);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
