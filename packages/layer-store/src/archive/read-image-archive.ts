/**
 * Reads archives of images into a content store: OCI layouts in a tar, what `docker save` writes (today a layout as
 * well), and what it wrote long ago, with layers and configs under names of their own.
 */
import { posix } from 'node:path';
import {
  ANNOTATION_IMAGE_NAME,
  ANNOTATION_REF_NAME,
  LAYOUT_FILE,
  LAYOUT_INDEX_FILE,
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  digestOf,
  isConfigType,
  isDigest,
  isIndexType,
  isManifestType,
  parseImageConfig,
  parseImageManifest,
  parseLayoutIndex,
  parseManifestDocument,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import {
  readBytes,
  type ContentOptions,
  type ContentSink,
  type ContentSource,
} from '@tare/image-spec/content';
import { detectCompression } from '../compression.ts';
import type { ContentCreator } from '../content/blob-files.ts';
import { LayerStoreError } from '../errors.ts';
import { printable, toBytes } from '../tar/entry.ts';
import { tarMembers } from '../tar/members.ts';
import {
  DOCKER_LIST_FILE,
  dockerListSchema,
  type DockerListEntry,
  type NamedImage,
} from './image-archive.ts';

/** Options of {@link readImageArchive}. */
export interface ReadArchiveOptions extends ContentOptions {
  /** Told of every blob that is in the store because of the archive: for whoever must keep it from being swept away. */
  onBlob?: (digest: Digest) => void;
}

/** Where the content of an archive goes, and is read back from. */
export type ArchiveStore = ContentSource & Pick<ContentSink, 'push'> & ContentCreator;

/** What is in the store of an archive. */
interface Contents {
  /** By name in the archive. */
  blobs: Map<string, { digest: Digest; size: number }>;
  links: Map<string, string>;
  /** Those that list the rest. */
  documents: Map<string, Uint8Array>;
}

/** Links are followed so often, as the kernel does. */
const MAX_LINKS = 40;
/** Names are kept in memory, and their number is the archive's choice. */
const MAX_NAMES = 100_000;
/** Indexes inside indexes. */
const MAX_DEPTH = 8;

/**
 * Stores the content of `archive` (plain, gzip or zstd) and returns its images. A manifest is written for an image that
 * the archive has none of; documents it has are kept byte for byte.
 *
 * Names in the archive never become paths. Content that is under its digest there is verified.
 *
 * @throws {LayerStoreError} `INVALID_ARCHIVE` for what holds no images, or not all of one; `INVALID_TAR`
 * @throws {ContainerError} what the documents' parsers and the store throw
 */
export async function readImageArchive(
  archive: AsyncIterable<Uint8Array>,
  store: ArchiveStore,
  options: ReadArchiveOptions = {},
): Promise<NamedImage[]> {
  const reading = new Reading(store, options);
  await reading.store(archive);
  const images = await reading.images();
  if (images.length > 0) return images;
  throw invalid(`the archive holds no image: neither ${DOCKER_LIST_FILE} nor ${LAYOUT_INDEX_FILE} lists one`);
}

class Reading {
  readonly #store: ArchiveStore;
  readonly #options: ReadArchiveOptions;
  readonly #contents: Contents = { blobs: new Map(), links: new Map(), documents: new Map() };

  constructor(store: ArchiveStore, options: ReadArchiveOptions) {
    this.#store = store;
    this.#options = options;
  }

  async store(archive: AsyncIterable<Uint8Array>): Promise<void> {
    const { blobs, links, documents } = this.#contents;
    const { signal } = this.#options;
    for await (const { entry, content } of tarMembers(archive)) {
      signal?.throwIfAborted();
      const name = clean(toBytes(entry.name).toString('utf8'));
      if (blobs.size + links.size > MAX_NAMES) throw invalid(`the archive has more than ${MAX_NAMES} names`);
      if (entry.type === 'symlink' || entry.type === 'hardlink') {
        const target = toBytes(entry.linkName).toString('utf8');
        links.set(name, clean(entry.type === 'hardlink' ? target : posix.join(posix.dirname(name), target)));
      } else if (entry.type === 'file') {
        if ([LAYOUT_FILE, LAYOUT_INDEX_FILE, DOCKER_LIST_FILE].includes(name)) {
          documents.set(name, await readBytes(content, MAX_DOCUMENT_BYTES));
        } else if (!/(?:^|\/)(?:VERSION|json|repositories)$/.test(name)) {
          // those are of Docker's first format, which nothing else refers to
          blobs.set(name, await this.#blob(name, entry.size, content));
        }
      }
    }
  }

  /** A file whose name says what it is must be that. */
  async #blob(
    name: string,
    size: number,
    content: AsyncIterable<Uint8Array>,
  ): Promise<{ digest: Digest; size: number }> {
    const { signal, onBlob } = this.#options;
    const options = signal ? { signal } : {};
    const [, algorithm, hex] = /^blobs\/([a-z0-9]+)\/([0-9a-f]+)$/.exec(name) ?? [];
    const digest = `${algorithm}:${hex}`;
    if (!isDigest(digest)) {
      const blob = await this.#store.create(content, options);
      onBlob?.(blob.digest);
      return blob;
    }
    onBlob?.(digest);
    await this.#store.push({ mediaType: OCTETS, digest, size }, content, options);
    return { digest, size };
  }

  /** By the index, which has documents as they are, and then what only Docker's list has. */
  async images(): Promise<NamedImage[]> {
    const images = new Map<Digest, NamedImage>();
    const add = (descriptor: Descriptor, names: readonly string[]): void => {
      const image = images.get(descriptor.digest) ?? { descriptor, names: [] };
      images.set(descriptor.digest, image);
      for (const name of names) if (!image.names.includes(name)) image.names.push(name);
    };
    /** By its config, the image that has it: of an index, the index. */
    const byConfig = new Map<Digest, Descriptor>();
    const index = this.#contents.documents.get(LAYOUT_INDEX_FILE);
    for (const entry of index === undefined ? [] : parseLayoutIndex(index).manifests) {
      const { annotations, ...descriptor } = entry;
      const configs = await this.#configsOf(descriptor, 0);
      // nothing to run: an artifact, or an image that was left out
      if (configs.length === 0) continue;
      const name = annotations?.[ANNOTATION_IMAGE_NAME] ?? annotations?.[ANNOTATION_REF_NAME];
      add(descriptor, name === undefined ? [] : [name]);
      for (const config of configs) if (!byConfig.has(config)) byConfig.set(config, descriptor);
    }
    for (const entry of this.#dockerList()) {
      const config = this.#blobAt(entry.Config);
      const names = entry.RepoTags ?? [];
      const known = byConfig.get(config.digest);
      if (known === undefined) add(await this.#makeManifest(entry, config), names);
      // an index entry may have the same name at full length
      else if (images.get(known.digest)!.names.length === 0) add(known, names);
    }
    return [...images.values()];
  }

  /** The configs of the images below a manifest or index, as far as those are in the archive. */
  async #configsOf(descriptor: Descriptor, depth: number): Promise<Digest[]> {
    const { mediaType, digest } = descriptor;
    if (!isManifestType(mediaType) && !isIndexType(mediaType)) return [];
    const blob = this.#contents.blobs.get(pathOf(digest));
    if (blob === undefined || depth > MAX_DEPTH) return [];
    const document = parseManifestDocument(await this.#document(blob), { ...descriptor, ...blob });
    if (document.kind === 'manifest') {
      const { config } = document.manifest;
      return isConfigType(config.mediaType) ? [config.digest] : [];
    }
    const configs: Digest[] = [];
    for (const entry of document.index.manifests) configs.push(...(await this.#configsOf(entry, depth + 1)));
    return configs;
  }

  #dockerList(): DockerListEntry[] {
    const bytes = this.#contents.documents.get(DOCKER_LIST_FILE);
    if (bytes === undefined) return [];
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder().decode(bytes));
    } catch (cause) {
      throw invalid(`${DOCKER_LIST_FILE} of the archive is no JSON`, cause);
    }
    const parsed = dockerListSchema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw invalid(`${DOCKER_LIST_FILE} of the archive does not list images`, parsed.error);
  }

  async #makeManifest(entry: DockerListEntry, config: { digest: Digest; size: number }): Promise<Descriptor> {
    const described: Descriptor = { mediaType: MEDIA_TYPES.ociConfig, ...config };
    const { rootfs } = parseImageConfig(await this.#document(config), described);
    if (rootfs.diff_ids.length !== entry.Layers.length) {
      throw invalid(
        `invalid manifest, layers length mismatch: expected ${rootfs.diff_ids.length}, got ${entry.Layers.length}`,
      );
    }
    const layers: Descriptor[] = [];
    for (const name of entry.Layers) {
      const blob = this.#blobAt(name);
      layers.push({ mediaType: await this.#layerType(blob), ...blob });
    }
    const mediaType = MEDIA_TYPES.ociManifest;
    const manifest = { schemaVersion: 2, mediaType, config: described, layers };
    const bytes = new TextEncoder().encode(JSON.stringify(manifest));
    const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.byteLength };
    // the same rules as for one that was given
    parseImageManifest(bytes, descriptor);
    this.#options.onBlob?.(descriptor.digest);
    await this.#store.push(descriptor, once(bytes), this.#signal());
    return descriptor;
  }

  async #layerType(blob: { digest: Digest; size: number }): Promise<string> {
    let head: Uint8Array = new Uint8Array();
    for await (const chunk of await this.#store.fetch({ mediaType: OCTETS, ...blob }, this.#signal())) {
      head = chunk;
      break;
    }
    const types = {
      none: MEDIA_TYPES.ociLayer,
      gzip: MEDIA_TYPES.ociLayerGzip,
      zstd: MEDIA_TYPES.ociLayerZstd,
    };
    return types[detectCompression(head)];
  }

  async #document(blob: { digest: Digest; size: number }): Promise<Uint8Array> {
    return readBytes(
      await this.#store.fetch({ mediaType: OCTETS, ...blob }, this.#signal()),
      MAX_DOCUMENT_BYTES,
    );
  }

  /** What a name of the archive means, links followed inside of it. */
  #blobAt(name: string): { digest: Digest; size: number } {
    let at: string | undefined = clean(name);
    for (let links = 0; links <= MAX_LINKS && at !== undefined; links += 1) {
      const blob = this.#contents.blobs.get(at);
      if (blob) return blob;
      at = this.#contents.links.get(at);
    }
    throw invalid(`the archive lists ${printable(name)} and does not hold it`);
  }

  #signal(): ContentOptions {
    return this.#options.signal ? { signal: this.#options.signal } : {};
  }
}

const OCTETS = 'application/octet-stream';

function clean(name: string): string {
  return posix.normalize(`/${name}`).slice(1);
}

function pathOf(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`;
}

function invalid(message: string, cause?: unknown): LayerStoreError {
  return new LayerStoreError('INVALID_ARCHIVE', message, { cause });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
