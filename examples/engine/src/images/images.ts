/** The image service: names, lookup, and the state that its verbs share. */
import {
  imageConfigSchema,
  isDigest,
  parseReference,
  withDefaultTag,
  familiarReference,
  type Digest,
  type ImageConfig,
  type Reference,
} from '@tare/image-spec';
import type { ContentStore } from '@tare/image-spec/content';
import type { Snapshotter } from '@tare/layer-store/snapshot';
import { invalid, notFound } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { ImageRow, ImagesTable } from '../state/images-table.ts';
import type { Image, ImageResolver, ImageUsers } from './image.ts';
import { Leases } from './leases.ts';
import { canonicalTag, familiar, familiarDigest, repositoryOf } from './names.ts';

/** What the image service is made of. */
export interface ImagesOptions {
  table: ImagesTable;
  content: ContentStore;
  snapshots: Snapshotter;
  events: EventBus;
  users: ImageUsers;
}

/** Finds images and names them. Its verbs live in the files next to this one and take it as their first argument. */
export class Images implements ImageResolver {
  readonly table: ImagesTable;
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly users: ImageUsers;
  /** What pulls under way hold. */
  readonly leases = new Leases();
  readonly #events: EventBus;
  /** Parsed configs: parsing one takes longer than everything else in starting a container from it. */
  readonly #configs = new Map<Digest, ImageConfig>();

  constructor(options: ImagesOptions) {
    this.table = options.table;
    this.content = options.content;
    this.snapshots = options.snapshots;
    this.users = options.users;
    this.#events = options.events;
  }

  resolve(reference: string): Image {
    return this.get(this.idOf(reference));
  }

  /** The image with exactly this id. @throws {EngineError} `NOT_FOUND` */
  get(id: Digest): Image {
    const row = this.table.get(id);
    if (!row) throw notFound(`No such image: ${id}`);
    return this.#toImage(row);
  }

  /** Every image, in no particular order. */
  all(): Image[] {
    const sizes = this.table.layerSizes();
    return this.table.list().map((row) => this.#toImage(row, sizes));
  }

  /**
   * The id of `reference`; see {@link ImageResolver.resolve}. A name wins over an id that begins like it.
   *
   * @throws {EngineError} `NOT_FOUND`; @throws {ImageSpecError} `INVALID_REFERENCE`
   */
  idOf(reference: string): Digest {
    const whole = /^(?:sha256:)?([0-9a-f]{64})$/.exec(reference);
    if (whole) {
      const id = `sha256:${whole[1]}`;
      if (isDigest(id) && this.table.get(id)) return id;
      throw notFound(`No such image: ${id}`);
    }
    const parsed = parseReference(reference);
    return this.named(parsed) ?? this.#byPrefix(reference, parsed);
  }

  /** The image a name points at, by its digest when it has one, else by its tag (default `latest`). */
  named(reference: Reference): Digest | undefined {
    return reference.digest === undefined
      ? this.table.tag(canonicalTag(reference))
      : this.table.digest(repositoryOf(reference), reference.digest);
  }

  #byPrefix(text: string, parsed: Reference): Digest {
    const hex = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(text)?.[1];
    const ids = hex === undefined ? [] : this.table.idsByPrefix(`sha256:${hex}`);
    if (ids.length > 1) throw notFound(`ambiguous reference: ${text} is the beginning of several image IDs`);
    const [id] = ids;
    if (id === undefined) throw notFound(`No such image: ${familiarReference(withDefaultTag(parsed))}`);
    return id;
  }

  #toImage(row: ImageRow, sizes = this.table.layerSizes()): Image {
    const config = this.#config(row);
    return {
      id: row.id,
      repoTags: this.table.tags(row.id).map(familiar),
      repoDigests: this.table
        .digests(row.id)
        .map(({ repository, digest }) => familiarDigest(repository, digest)),
      chainId: row.chain.at(-1),
      chain: row.chain,
      config,
      sizeBytes: row.chain.reduce((sum, chainId) => sum + (sizes.get(chainId) ?? 0), 0),
      taggedAt: row.taggedAt,
    };
  }

  #config(row: ImageRow): ImageConfig {
    let config = this.#configs.get(row.id);
    if (!config) {
      const result = imageConfigSchema.safeParse(JSON.parse(row.config));
      if (!result.success) throw invalid(`image ${row.id} has an invalid config`, { cause: result.error });
      config = result.data;
      this.#configs.set(row.id, config);
    }
    return config;
  }

  /** Drops what is cached of an image that was removed. */
  forget(id: Digest): void {
    this.#configs.delete(id);
  }

  /** Tells the world that something happened to an image. @param id - the name for pulls, the image's id otherwise */
  emit(action: string, id: string, name: string, labels: Readonly<Record<string, string>> = {}): void {
    this.#events.publish({ type: 'image', action, id, attributes: { ...labels, name } });
  }
}
