/** Pushes images: what the registry lacks of their blobs, their manifest, and then the name. */
import {
  familiarName,
  familiarReference,
  formatPlatform,
  imageLayers,
  parseReference,
  type Digest,
  type ImageLayer,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import { copyGraph, type ResumableSink } from '@tare/image-spec/content';
import { invalid, notFound } from '../errors.ts';
import { Limiter } from '../jobs/limiter.ts';
import { manifestToPush, type LayerCompressor } from './compress.ts';
import type { Images } from './images.ts';
import type { Indexes } from './indexes.ts';
import { canonicalTag, repositoryOf, shortId } from './names.ts';
import { TransferProgress, type ProgressLine } from './transfer-progress.ts';
import { pushError } from './registry-errors.ts';
import type { OpenRepository, RegistryAuth, RemoteRepository, TransferEvent } from './remote.ts';

/** What to push. Without a tag: every tag of the repository that is here. */
export interface PushRequest {
  reference: Reference;
  /** Push only an image of this platform. */
  platform?: Platform;
  auth?: RegistryAuth | undefined;
}

/** A line of progress, or what was pushed, for programs. */
export type PushMessage = ProgressLine | { aux: { Tag: string; Digest: Digest; Size: number } };

/** What pushing needs. */
export interface PusherOptions {
  images: Images;
  compressor: LayerCompressor;
  /** Names that are more than one image. */
  indexes: Pick<Indexes, 'of'>;
  openRepository: OpenRepository;
  /** Uploads at the same time, over all pushes. */
  maxConcurrentUploads: number;
}

/** Pushes images. One object for the engine: its pushes share the upload limit. */
export class Pusher {
  readonly #images: Images;
  readonly #compressor: LayerCompressor;
  readonly #indexes: Pick<Indexes, 'of'>;
  readonly #openRepository: OpenRepository;
  readonly #uploads: Limiter;
  #concurrency: number;

  constructor(options: PusherOptions) {
    this.#images = options.images;
    this.#compressor = options.compressor;
    this.#indexes = options.indexes;
    this.#openRepository = options.openRepository;
    this.#uploads = new Limiter(options.maxConcurrentUploads);
    this.#concurrency = options.maxConcurrentUploads;
  }

  /** Changes how many uploads there are at the same time. */
  limitUploads(limit: number): void {
    this.#uploads.resize(limit);
    this.#concurrency = limit;
  }

  /**
   * Pushes, telling `onMessage` how far it is. A broken push leaves blobs at the registry, which the next one uses, and
   * no name.
   *
   * @throws {EngineError} `NOT_FOUND` when there is no such name here; the registry's refusals in Docker's words
   */
  async push(
    request: PushRequest,
    onMessage: (message: PushMessage) => void,
    options: { signal: AbortSignal },
  ): Promise<void> {
    const { reference } = request;
    if (reference.digest !== undefined) throw invalid('cannot push a digest reference');
    onMessage({ status: `The push refers to repository [${repositoryOf(reference)}]` });
    for (const name of this.#names(reference)) {
      try {
        await this.#pushOne({ ...request, reference: name }, onMessage, options.signal);
      } catch (error) {
        throw pushError(error);
      }
    }
  }

  #names(reference: Reference): Reference[] {
    const { table } = this.#images;
    if (reference.tag !== undefined) {
      if (table.tag(canonicalTag(reference)) !== undefined) return [reference];
      throw notFound(`tag does not exist: ${familiarReference(reference)}`);
    }
    const names = table
      .allTags()
      .map(({ name }) => parseReference(name))
      .filter((name) => repositoryOf(name) === repositoryOf(reference));
    if (names.length > 0) return names;
    throw notFound(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  }

  async #pushOne(
    { reference, auth, platform }: PushRequest,
    onMessage: (message: PushMessage) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const images = this.#images;
    const id = images.table.tag(canonicalTag(reference))!;
    const { config } = images.get(id);
    if (platform && (platform.architecture !== config.architecture || platform.os !== config.os)) {
      throw notFound(
        `image with reference ${familiarReference(reference)} was found but does not provide the specified platform (${formatPlatform(platform)})`,
      );
    }
    const { descriptor, manifest } = await manifestToPush(images, this.#compressor, id, signal);
    // what a `rmi` meanwhile leaves without a name is not swept away below the push
    using _lease = images.leases.hold([
      id,
      descriptor.digest,
      ...manifest.layers.map(({ digest }) => digest),
    ]);
    // asked for one platform, the others stay here
    const makeIndex = platform ? undefined : this.#indexes.of(canonicalTag(reference), id);
    const { root, source } = (await makeIndex?.(signal)) ?? { root: descriptor, source: images.content };
    const progress = new PushProgress(await imageLayers(manifest, config), onMessage);
    const repository = await this.#openRepository(reference, {
      auth,
      mountFrom: this.#siblings(id, reference),
      onTransfer: (event) => progress.tell(event),
    });
    await copyGraph(source, this.#limited(repository), root, {
      concurrency: this.#concurrency,
      signal,
      onEvent: ({ kind, descriptor: { digest } }) => {
        if (kind === 'foreign') progress.done(digest, 'Skipped foreign layer');
      },
    });
    const tag = reference.tag!;
    await repository.tag(root, tag, { signal });
    images.table.putDigest(repositoryOf(reference), root.digest, id);
    images.emit('push', familiarReference(reference), familiarName(reference), config.config?.Labels);
    onMessage({ status: `${tag}: digest: ${root.digest} size: ${root.size}` });
    onMessage({ aux: { Tag: tag, Digest: root.digest, Size: root.size } });
  }

  /** Repositories of the same registry that have the image, as far as this engine knows. */
  #siblings(id: Digest, { registry, repository }: Reference): string[] {
    const prefix = `${registry}/`;
    const names = this.#images.table
      .digests(id)
      .filter((row) => row.repository.startsWith(prefix))
      .map((row) => row.repository.slice(prefix.length))
      .filter((name) => name !== repository);
    return [...new Set(names)];
  }

  #limited(repository: RemoteRepository): ResumableSink {
    return {
      has: (descriptor, options) => repository.has(descriptor, options),
      pushFrom: async (descriptor, open, options) => {
        using _place = await this.#uploads.acquire(options?.signal);
        await repository.pushFrom(descriptor, open, options);
      },
      push: async (descriptor, content, options) => {
        using _place = await this.#uploads.acquire(options?.signal);
        await repository.push(descriptor, content, options);
      },
    };
  }
}

/** Tells of the layers of one image, by their diffIDs: those are what `docker push` has always shown. */
class PushProgress {
  readonly #progress: TransferProgress;

  constructor(layers: readonly ImageLayer[], onMessage: (message: ProgressLine) => void) {
    this.#progress = new TransferProgress(onMessage);
    for (const { descriptor, diffId } of layers.toReversed()) {
      this.#progress.layer(descriptor, 'Preparing', shortId(diffId));
    }
  }

  tell({ kind, descriptor, transferredBytes, from }: TransferEvent): void {
    if (kind === 'mounted') this.done(descriptor.digest, `Mounted from ${from}`);
    else if (kind === 'exists') this.done(descriptor.digest, 'Layer already exists');
    else if (kind === 'done') this.done(descriptor.digest, 'Pushed');
    else if (kind !== 'retry') this.#progress.bytes(descriptor, 'Pushing', transferredBytes);
  }

  done(digest: Digest, status: string): void {
    this.#progress.done(digest, status);
  }
}
