/** Writes images as one archive that is an OCI layout and what `docker load` has always read, at once. */
import {
  ANNOTATION_IMAGE_NAME,
  ANNOTATION_REF_NAME,
  LAYOUT_FILE,
  LAYOUT_INDEX_FILE,
  LAYOUT_VERSION,
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  blobPath,
  familiarReference,
  formatReference,
  isConfigType,
  isForeignLayerType,
  isIndexType,
  isManifestType,
  parseImageConfig,
  parseManifestDocument,
  parseReference,
  selectManifest,
  withDefaultTag,
  type Descriptor,
  type Digest,
  type ImageIndex,
  type Platform,
} from '@tare/image-spec';
import { readBytes, type ContentOptions, type ContentSource } from '@tare/image-spec/content';
import { LayerStoreError } from '../errors.ts';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '../tar/write.ts';
import { DOCKER_LIST_FILE, type DockerListEntry, type NamedImage } from './image-archive.ts';

/** Options of {@link writeImageArchive}. */
export interface WriteArchiveOptions extends ContentOptions {
  /** Which entries of an index to write; default all. */
  select?: (index: ImageIndex, descriptor: Descriptor) => readonly Descriptor[];
  /** Of an index, the image that `docker load` shall give the names. Default: the first. */
  platform?: Platform;
}

/** Indexes inside indexes. */
const MAX_DEPTH = 8;

/**
 * The archive of `images`, whose names are references (`busybox:1.36`, `docker.io/library/busybox`). A blob that several
 * images share is in it once; the same images give the same bytes.
 *
 * @throws {ContainerError} what `source` and the documents' parsers throw
 */
export async function* writeImageArchive(
  source: ContentSource,
  images: readonly NamedImage[],
  options: WriteArchiveOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* new Writing(source, options).archive(images);
}

/** An image that runs, found below a manifest or index. */
interface Runnable {
  descriptor: Descriptor;
  config: Descriptor;
  layers: Descriptor[];
}

class Writing {
  readonly #source: ContentSource;
  readonly #options: WriteArchiveOptions;
  readonly #written = new Set<Digest>();
  readonly #folders = new Set<string>();

  constructor(source: ContentSource, options: WriteArchiveOptions) {
    this.#source = source;
    this.#options = options;
  }

  async *archive(images: readonly NamedImage[]): AsyncGenerator<Uint8Array, void, undefined> {
    const manifests: Descriptor[] = [];
    const list: DockerListEntry[] = [];
    for (const { descriptor, names } of images) {
      const found: Runnable[] = [];
      yield* this.#graph(descriptor, found, 0);
      // what `docker load` gives to an image are tags; a digest it has anyway
      const references = names.flatMap((name) => {
        const { registry, repository, tag } = withDefaultTag(parseReference(name));
        return tag === undefined ? [] : [{ registry, repository, tag }];
      });
      const entry = { ...descriptor, ...(await this.#platformOf(descriptor, found)) };
      if (references.length === 0) manifests.push(entry);
      for (const reference of references) {
        const annotations = {
          ...entry.annotations,
          [ANNOTATION_IMAGE_NAME]: formatReference(reference),
          [ANNOTATION_REF_NAME]: reference.tag,
        };
        manifests.push({ ...entry, annotations });
      }
      const tags = references.map(familiarReference);
      const named = this.#named(found);
      for (const image of found) {
        list.push({
          Config: blobPath(image.config.digest),
          RepoTags: tags.length > 0 && image === named ? tags : null,
          Layers: image.layers.map(({ digest }) => blobPath(digest)),
        });
      }
    }
    yield* document(LAYOUT_INDEX_FILE, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests });
    yield* document(DOCKER_LIST_FILE, list);
    yield* document(LAYOUT_FILE, { imageLayoutVersion: LAYOUT_VERSION });
    yield TAR_END;
  }

  /** Everything below `descriptor` and then itself, so that a reader of the stream has what it refers to. */
  async *#graph(
    descriptor: Descriptor,
    found: Runnable[],
    depth: number,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (depth > MAX_DEPTH) {
      throw new LayerStoreError(
        'LIMIT_EXCEEDED',
        `${descriptor.digest} lies more than ${MAX_DEPTH} indexes deep`,
      );
    }
    if (isForeignLayerType(descriptor.mediaType)) return;
    if (!isManifestType(descriptor.mediaType) && !isIndexType(descriptor.mediaType)) {
      if (this.#written.has(descriptor.digest)) return;
      yield* this.#header(descriptor);
      yield* await this.#source.fetch(descriptor, this.#signal());
      yield tarPadding(descriptor.size);
      return;
    }
    const bytes = await readBytes(await this.#source.fetch(descriptor, this.#signal()), MAX_DOCUMENT_BYTES);
    const parsed = parseManifestDocument(bytes, descriptor);
    if (parsed.kind === 'index') {
      const entries = this.#options.select?.(parsed.index, descriptor) ?? parsed.index.manifests;
      for (const entry of entries) yield* this.#graph(entry, found, depth + 1);
    } else {
      const { config, layers } = parsed.manifest;
      if (isConfigType(config.mediaType) && descriptor.platform?.os !== 'unknown')
        found.push({ descriptor, config, layers });
      for (const blob of [...layers, config]) yield* this.#graph(blob, found, depth + 1);
    }
    if (this.#written.has(descriptor.digest)) return;
    yield* this.#header(descriptor);
    yield bytes;
    yield tarPadding(bytes.byteLength);
  }

  *#header({ digest, size }: Descriptor): Generator<Uint8Array, void, undefined> {
    this.#written.add(digest);
    const path = blobPath(digest);
    for (const folder of ['blobs/', path.slice(0, path.lastIndexOf('/') + 1)]) {
      if (this.#folders.has(folder)) continue;
      this.#folders.add(folder);
      yield encodeTarHeader(tarEntry('directory', folder));
    }
    yield encodeTarHeader(tarEntry('file', path, { size }));
  }

  /** What the config of a single image says; an index has the platforms itself. */
  async #platformOf(descriptor: Descriptor, [image]: readonly Runnable[]): Promise<{ platform?: Platform }> {
    if (isIndexType(descriptor.mediaType) || image === undefined || descriptor.platform) return {};
    const bytes = await readBytes(await this.#source.fetch(image.config, this.#signal()), MAX_DOCUMENT_BYTES);
    const { architecture, os, variant } = parseImageConfig(bytes, image.config);
    return { platform: { architecture, os, ...(variant !== undefined && { variant }) } };
  }

  #named(found: readonly Runnable[]): Runnable | undefined {
    const { platform } = this.#options;
    if (platform === undefined || found.length < 2) return found[0];
    const manifests = found.map(({ descriptor }) => descriptor);
    const { digest } = selectManifest({ schemaVersion: 2, manifests }, platform);
    return found.find(({ descriptor }) => descriptor.digest === digest);
  }

  #signal(): ContentOptions {
    return this.#options.signal ? { signal: this.#options.signal } : {};
  }
}

function* document(name: string, value: unknown): Generator<Uint8Array, void, undefined> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  yield encodeTarHeader(tarEntry('file', name, { size: bytes.byteLength }));
  yield bytes;
  yield tarPadding(bytes.byteLength);
}
