/** Pulls images: resolve, download what is missing, unpack, and only then give the image its name. */
import {
  ContainerError,
  familiarName,
  formatPlatform,
  familiarReference,
  formatReference,
  imageLayers,
  isIndexType,
  isManifestType,
  isSchema1Type,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  platformOfProcess,
  referenceTarget,
  selectManifest,
  type Descriptor,
  type Digest,
  type ImageLayer,
  type ImageManifest,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import {
  copyGraph,
  isVouchedFor,
  readBytes,
  vouchFor,
  type ContentSource,
  type FetchOptions,
} from '@tare/image-spec/content';
import { invalid, notFound } from '../errors.ts';
import { step } from '../jobs/current.ts';
import { Limiter } from '../jobs/limiter.ts';
import type { LayerRow } from '../state/images-table.ts';
import type { Images } from './images.ts';
import { canonicalTag, repositoryOf } from './names.ts';
import { pullError } from './registry-errors.ts';
import type { OpenOptions, RegistryAuth, RemoteSource } from './remote.ts';
import { TransferProgress, type ProgressLine } from './transfer-progress.ts';

/** What to pull. Without tag and digest: every tag of the repository. */
export interface PullRequest {
  reference: Reference;
  /** Which image of an index; the machine's by default. */
  platform?: Platform;
  auth?: RegistryAuth | undefined;
}

/** Puts layers on top of each other as committed snapshots: a part of `LayerStore` of `@tare/layer-store`. */
export interface LayerUnpacker {
  /**
   * Makes the committed snapshot `layer.chainId`, whose blob is in the content store, or will be when `arrival` resolves.
   * Calls for one layer that meet unpack it once; a call may begin while that for its parent is under way.
   *
   * @param parent - chainID of the layer below; undefined for the first
   * @returns the unpacked size
   */
  unpackLayer(
    layer: ImageLayer,
    parent: Digest | undefined,
    options: {
      signal: AbortSignal;
      arrival?: Promise<unknown>;
      onProgress: (compressedBytes: number) => void;
    },
  ): Promise<{ sizeBytes: number }>;
}

/** Opens repositories to read from. */
type OpenSource = (
  reference: Reference,
  options: Pick<OpenOptions, 'auth'>,
) => Promise<RemoteSource> | RemoteSource;

/** What pulling needs. */
export interface PullerOptions {
  images: Images;
  openRepository: OpenSource;
  unpacker: LayerUnpacker;
  /** Downloads at the same time, over all pulls. */
  maxConcurrentDownloads: number;
}

/** Larger manifests and configs are refused. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** Pulls images. One object for the engine: its pulls share the download limit. */
export class Puller {
  readonly #images: Images;
  readonly #openRepository: OpenSource;
  readonly #unpacker: LayerUnpacker;
  readonly #downloads: Limiter;

  constructor(options: PullerOptions) {
    this.#images = options.images;
    this.#openRepository = options.openRepository;
    this.#unpacker = options.unpacker;
    this.#downloads = new Limiter(options.maxConcurrentDownloads);
  }

  /** Changes how many downloads there are at the same time. */
  limitDownloads(limit: number): void {
    this.#downloads.resize(limit);
  }

  /**
   * Pulls, telling `onMessage` how far it is. Nothing is told before the registry has answered, so that a failure until
   * then can be an ordinary error reply.
   *
   * A broken pull leaves no image and no name; the blobs and layers it got are used by the next.
   *
   * @throws {EngineError} `NOT_FOUND` in Docker's words when the registry does not have or does not give it
   */
  async pull(
    request: PullRequest,
    onMessage: (message: ProgressLine) => void,
    options: { signal: AbortSignal },
  ): Promise<void> {
    try {
      await this.#pull(request, onMessage, options);
    } catch (error) {
      throw pullError(error, request.reference);
    }
  }

  /**
   * Which image a name means on a platform. Of an index that is not there, and whatever is wrong, as {@link pull}.
   *
   * @returns the digest of its manifest
   */
  async manifestOf(request: PullRequest, options: { signal: AbortSignal }): Promise<Digest> {
    const { reference, auth } = request;
    const { signal } = options;
    try {
      const source = await this.#openRepository(reference, { auth });
      const root = await source.resolve(referenceTarget(reference), { signal });
      return (await selectPlatform(source, root, request, signal)).digest;
    } catch (error) {
      throw pullError(error, reference);
    }
  }

  async #pull(
    request: PullRequest,
    onMessage: (message: ProgressLine) => void,
    options: { signal: AbortSignal },
  ): Promise<void> {
    const { reference } = request;
    const source = await this.#openRepository(reference, { auth: request.auth });
    if (reference.tag !== undefined || reference.digest !== undefined) {
      await this.#pullOne(source, request, onMessage, options.signal);
      return;
    }
    let found = false;
    for await (const tag of source.tags({ signal: options.signal })) {
      found = true;
      await this.#pullOne(
        source,
        { ...request, reference: { ...reference, tag } },
        onMessage,
        options.signal,
      );
    }
    if (!found) throw notFound(`repository ${familiarName(reference)} has no tags`);
  }

  async #pullOne(
    source: RemoteSource,
    request: PullRequest,
    onMessage: (message: ProgressLine) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const images = this.#images;
    const { reference } = request;
    const root = await step('resolve', () => source.resolve(referenceTarget(reference), { signal }));
    const descriptor = await selectPlatform(source, root, request, signal);
    const manifest = parseImageManifest(
      await readBytes(await source.fetch(descriptor, { signal }), MAX_DOCUMENT_BYTES),
      descriptor,
    );
    onMessage({ status: `Pulling from ${reference.repository}`, id: referenceTarget(reference) });

    const id = manifest.config.digest;
    const previous = images.named(reference);
    using _lease = images.leases.hold([
      descriptor.digest,
      id,
      ...manifest.layers.map((layer) => layer.digest),
    ]);
    if (!images.table.get(id)) {
      await this.#fetchImage(source, descriptor, manifest, onMessage, signal);
    }

    images.table.transaction(() => {
      if (reference.digest === undefined) images.table.putTag(canonicalTag(reference), id, new Date());
      images.table.putDigest(repositoryOf(reference), root.digest, id);
    });
    images.emit(
      'pull',
      familiarReference(reference),
      familiarName(reference),
      images.get(id).config.config?.Labels,
    );
    onMessage({ status: `Digest: ${root.digest}` });
    const what = previous === id ? 'Image is up to date' : 'Downloaded newer image';
    onMessage({ status: `Status: ${what} for ${familiarReference(reference)}` });
  }

  /** Downloads and unpacks an image and adds its row, all in an order that a crash cannot make visible by half. */
  async #fetchImage(
    source: RemoteSource,
    descriptor: Descriptor,
    manifest: ImageManifest,
    onMessage: (message: ProgressLine) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const images = this.#images;
    const progress = new TransferProgress(onMessage);
    await fetchBlob(source, images, manifest.config, signal);
    const configBytes = await readBytes(
      await images.content.fetch(manifest.config, { signal }),
      MAX_DOCUMENT_BYTES,
    );
    const config = parseImageConfig(configBytes, manifest.config);
    if (config.os !== '' && config.os !== 'linux') {
      throw invalid(`image operating system "${config.os}" cannot be used on this platform`);
    }
    const layers = await imageLayers(manifest, config);
    using _lease = images.leases.hold(layers.map(({ chainId }) => chainId));
    for (const { descriptor: layer } of layers) progress.layer(layer, 'Pulling fs layer');

    const stop = new AbortController();
    const all = AbortSignal.any([signal, stop.signal]);
    const downloaded = new Map(
      layers.map(({ descriptor: layer }) => [layer.digest, Promise.withResolvers<void>()]),
    );
    const copy = step('download', () =>
      copyGraph(new LimitedSource(source, this.#downloads, progress), images.content, descriptor, {
        // the limit over all pulls is kept by LimitedSource
        concurrency: Math.max(1, layers.length + 1),
        signal: all,
        onEvent: ({ kind, descriptor: { digest } }) => {
          if (kind === 'done') progress.done(digest, 'Download complete');
          if (kind === 'done' || kind === 'exists') downloaded.get(digest)?.resolve();
        },
      }),
    );
    for (const { promise, reject } of downloaded.values()) {
      // not every layer has somebody who waits
      promise.catch(() => undefined);
      copy.catch(reject);
    }
    // all begin at once, those below first: each waits for what it needs
    const unpack = step('unpack', () =>
      Promise.all(
        layers.map((layer, i) => {
          const { promise } = downloaded.get(layer.descriptor.digest)!;
          return this.#unpackOne(layer, layers[i - 1]?.chainId, promise, progress, all);
        }),
      ),
    );
    try {
      const [sizes] = await Promise.all([unpack, copy]);
      images.table.put(
        {
          id: manifest.config.digest,
          chain: layers.map(({ chainId }) => chainId),
          config: Buffer.from(configBytes).toString('utf8'),
        },
        sizes,
        descriptor,
      );
    } catch (error) {
      stop.abort(error);
      // both have ended before the lease does
      await Promise.allSettled([copy, unpack]);
      throw error;
    }
  }

  /** Unpacks a layer while it is downloaded; clients see one step after the other. */
  async #unpackOne(
    layer: ImageLayer,
    parent: Digest | undefined,
    downloaded: Promise<void>,
    progress: TransferProgress,
    signal: AbortSignal,
  ): Promise<LayerRow> {
    const { chainId, descriptor } = layer;
    const { snapshots } = this.#images;
    if (await snapshots.stat(chainId, { signal })) {
      await downloaded;
      progress.done(descriptor.digest, 'Already exists');
      return { chainId, sizeBytes: (await snapshots.usage(chainId, { signal })).sizeBytes };
    }
    let read = 0;
    let told = false;
    const tell = (): void => {
      if (told) progress.bytes(descriptor, 'Extracting', read);
    };
    const begin = (): void => {
      told = true;
      tell();
    };
    downloaded.then(begin, () => undefined);
    const { sizeBytes } = await this.#unpacker.unpackLayer(layer, parent, {
      signal,
      arrival: downloaded,
      onProgress: (bytes) => {
        read = bytes;
        tell();
      },
    });
    progress.done(descriptor.digest, 'Pull complete');
    return { chainId, sizeBytes };
  }
}

/** The manifest for the wanted platform; `root` itself when it is no index. */
async function selectPlatform(
  source: RemoteSource,
  root: Descriptor,
  request: PullRequest,
  signal: AbortSignal,
): Promise<Descriptor> {
  const name = formatReference(request.reference);
  if (isSchema1Type(root.mediaType)) {
    throw invalid(`${name} has the image format of Docker before 1.10 (schema 1), which is not supported`);
  }
  if (isManifestType(root.mediaType)) return root;
  if (!isIndexType(root.mediaType)) {
    throw invalid(`${name} is no image: its media type is ${root.mediaType}`);
  }
  const bytes = await readBytes(await source.fetch(root, { signal }), MAX_DOCUMENT_BYTES);
  const platform = request.platform ?? platformOfProcess(process);
  try {
    return selectManifest(parseImageIndex(bytes, root), platform);
  } catch (error) {
    if (!(ContainerError.is(error) && error.code === 'NO_MATCHING_PLATFORM')) throw error;
    throw notFound(
      `no matching manifest for ${formatPlatform(platform)} in the manifest list entries: ${error.message}`,
      { cause: error },
    );
  }
}

async function fetchBlob(
  source: ContentSource,
  images: Images,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  if (await images.content.has(descriptor, { signal })) return;
  await images.content.push(descriptor, await source.fetch(descriptor, { signal }), { signal });
}

/** A source that keeps to the download limit and counts what passes through. */
class LimitedSource implements ContentSource {
  readonly #source: ContentSource;
  readonly #limiter: Limiter;
  readonly #progress: TransferProgress;

  constructor(source: ContentSource, limiter: Limiter, progress: TransferProgress) {
    this.#source = source;
    this.#limiter = limiter;
    this.#progress = progress;
  }

  async fetch(descriptor: Descriptor, options: FetchOptions = {}): Promise<AsyncIterable<Uint8Array>> {
    if (!this.#progress.knows(descriptor.digest)) return this.#source.fetch(descriptor, options);
    if (this.#limiter.busy) this.#progress.layer(descriptor, 'Waiting');
    const place = await this.#limiter.acquire(options.signal);
    try {
      const content = await this.#source.fetch(descriptor, options);
      const counted = this.#count(descriptor, options.offset ?? 0, content, place);
      return isVouchedFor(content, descriptor) ? vouchFor(counted, descriptor) : counted;
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
  }

  async *#count(
    descriptor: Descriptor,
    offset: number,
    content: AsyncIterable<Uint8Array>,
    place: Disposable,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    using _place = place;
    let bytes = offset;
    for await (const chunk of content) {
      bytes += chunk.length;
      this.#progress.bytes(descriptor, 'Downloading', bytes);
      yield chunk;
    }
    this.#progress.layer(descriptor, 'Verifying Checksum');
  }
}
