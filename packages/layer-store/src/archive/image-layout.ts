/** An OCI image layout in a directory: blobs by digest, and an index of what has names. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  ANNOTATION_IMAGE_NAME,
  ANNOTATION_REF_NAME,
  LAYOUT_FILE,
  LAYOUT_INDEX_FILE,
  LAYOUT_VERSION,
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  detectManifestType,
  isDigest,
  parseImageLayout,
  parseLayoutIndex,
  type Descriptor,
  type Digest,
  type ImageIndex,
} from '@tare/image-spec';
import {
  readBytes,
  type ContentInfo,
  type ContentOptions,
  type ContentStore,
  type FetchOptions,
  type OpenContent,
  type Resolver,
  type ResumableSink,
  type Tagger,
} from '@tare/image-spec/content';
import type { ContentCreator } from '../content/blob-files.ts';
import { openFileContent, type FileContent } from '../content/file-content.ts';
import { isMissing, syncDirectory } from '../content/ingest.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { NamedImage } from './image-archive.ts';

/** How a layout is opened. */
export interface ImageLayoutOptions extends ContentOptions {
  /** Makes it when it is not there. Default false. */
  create?: boolean;
}

/**
 * Opens the layout in `directory`. Several of one process may be open at a time, one of them may write names.
 *
 * @throws {LayerStoreError} `NOT_FOUND` when the directory is no layout
 * @throws {ImageSpecError} `INVALID_DOCUMENT` when it is one of another version, or its index cannot be read
 */
export async function openImageLayout(
  directory: string,
  options: ImageLayoutOptions = {},
): Promise<ImageLayoutDirectory> {
  options.signal?.throwIfAborted();
  const marker = join(directory, LAYOUT_FILE);
  try {
    parseImageLayout(await readFile(marker));
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    if (options.create !== true) {
      throw new LayerStoreError('NOT_FOUND', `${directory} is no image layout: it has no ${LAYOUT_FILE}`, {
        cause,
      });
    }
    // for others to read as well, unlike the content of a store
    await mkdir(join(directory, 'blobs', 'sha256'), { recursive: true });
    await replace(join(directory, LAYOUT_INDEX_FILE), EMPTY_INDEX);
    await replace(marker, { imageLayoutVersion: LAYOUT_VERSION });
  }
  const layout = new ImageLayoutDirectory(directory, await openFileContent(directory));
  await layout.images();
  return layout;
}

const EMPTY_INDEX = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests: [] };

/** A layout as a place of content and names. Made by {@link openImageLayout}; closing it leaves only what belongs there. */
export class ImageLayoutDirectory
  implements ContentStore, ResumableSink, ContentCreator, Resolver, Tagger, AsyncDisposable
{
  readonly #directory: string;
  readonly #content: FileContent;
  /** The last change of the index, which the next one waits for. */
  #change: Promise<unknown> = Promise.resolve();

  /** Use {@link openImageLayout}: it checks the marker. */
  constructor(directory: string, content: FileContent) {
    this.#directory = directory;
    this.#content = content;
  }

  fetch(descriptor: Descriptor, options?: FetchOptions): Promise<AsyncIterable<Uint8Array>> {
    return this.#content.fetch(descriptor, options);
  }

  has(descriptor: Descriptor, options?: ContentOptions): Promise<boolean> {
    return this.#content.has(descriptor, options);
  }

  push(descriptor: Descriptor, content: AsyncIterable<Uint8Array>, options?: ContentOptions): Promise<void> {
    return this.#content.push(descriptor, content, options);
  }

  pushFrom(descriptor: Descriptor, source: OpenContent, options?: ContentOptions): Promise<void> {
    return this.#content.pushFrom(descriptor, source, options);
  }

  create(
    content: AsyncIterable<Uint8Array>,
    options?: ContentOptions,
  ): Promise<{ digest: Digest; size: number }> {
    return this.#content.create(content, options);
  }

  info(digest: Digest, options?: ContentOptions): Promise<ContentInfo | undefined> {
    return this.#content.info(digest, options);
  }

  delete(digest: Digest, options?: ContentOptions): Promise<void> {
    return this.#content.delete(digest, options);
  }

  list(options?: ContentOptions): AsyncIterable<ContentInfo> {
    return this.#content.list(options);
  }

  /** What the index lists, in its order; entries of one content are one image with several names. */
  async images(): Promise<NamedImage[]> {
    const images = new Map<Digest, NamedImage>();
    for (const entry of (await this.#index()).manifests) {
      const image = images.get(entry.digest) ?? { descriptor: entry, names: [] };
      images.set(entry.digest, image);
      const [name] = namesOf(entry);
      if (name !== undefined) image.names.push(name);
    }
    return [...images.values()];
  }

  /**
   * The descriptor that has the name `reference`, or of the manifest with that digest.
   *
   * @param reference default: the only image there is
   * @throws {LayerStoreError} `NOT_FOUND`, naming what there is
   */
  async resolve(reference?: string, options: ContentOptions = {}): Promise<Descriptor> {
    options.signal?.throwIfAborted();
    const { manifests } = await this.#index();
    const found =
      reference === undefined
        ? new Set(manifests.map(({ digest }) => digest)).size === 1 && manifests[0]
        : manifests.find((entry) => entry.digest === reference || namesOf(entry).includes(reference));
    if (found) return found;
    if (reference !== undefined && isDigest(reference)) {
      const info = await this.info(reference, options);
      if (info !== undefined) return this.#describe(info, options);
    }
    const names = manifests.flatMap(namesOf).slice(0, 20).join(', ') || 'none with a name';
    const what = reference === undefined ? 'not exactly one image' : `no ${JSON.stringify(reference)}`;
    throw new LayerStoreError('NOT_FOUND', `the layout ${this.#directory} has ${what}; there is: ${names}`);
  }

  /** @throws {LayerStoreError} `NOT_FOUND` when the content is not in the layout */
  async tag(descriptor: Descriptor, reference: string, options: ContentOptions = {}): Promise<void> {
    if (!(await this.has(descriptor, options))) {
      throw new LayerStoreError('NOT_FOUND', `${descriptor.digest} is not in the layout ${this.#directory}`);
    }
    await this.#update((manifests) => [
      // an entry without a name becomes the named one
      ...manifests.filter(
        (entry) =>
          !namesOf(entry).includes(reference) &&
          !(entry.digest === descriptor.digest && namesOf(entry).length === 0),
      ),
      { ...descriptor, annotations: { ...descriptor.annotations, [ANNOTATION_REF_NAME]: reference } },
    ]);
  }

  /** Lists content without a name; nothing changes when it is listed. */
  async add(descriptor: Descriptor): Promise<void> {
    await this.#update((manifests) =>
      manifests.some(({ digest }) => digest === descriptor.digest) ? manifests : [...manifests, descriptor],
    );
  }

  /** Removes what is listed under a name or digest from the index; the content stays. */
  async untag(reference: string): Promise<void> {
    await this.#update((manifests) =>
      manifests.filter((entry) => entry.digest !== reference && !namesOf(entry).includes(reference)),
    );
  }

  /** Removes the folders that writing needed; fails silently for those in which another writes. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of ['ingest', join('blobs', 'sha512')]) {
      await rmdir(join(this.#directory, folder)).catch((error: unknown) => {
        if (!['ENOTEMPTY', 'ENOENT', 'EROFS', 'EACCES', 'EPERM'].includes(systemCode(error) ?? ''))
          throw error;
      });
    }
  }

  async #index(): Promise<ImageIndex> {
    return parseLayoutIndex(await readFile(join(this.#directory, LAYOUT_INDEX_FILE)));
  }

  async #update(change: (manifests: Descriptor[]) => Descriptor[]): Promise<void> {
    const update = this.#change.then(async () => {
      const index = await this.#index();
      await replace(join(this.#directory, LAYOUT_INDEX_FILE), {
        ...index,
        manifests: change(index.manifests),
      });
    });
    // how it ended is told to whom it concerns
    this.#change = update.catch(() => {});
    await update;
  }

  async #describe({ digest, size }: ContentInfo, options: ContentOptions): Promise<Descriptor> {
    const descriptor = { mediaType: 'application/octet-stream', digest, size };
    const bytes = await readBytes(await this.fetch(descriptor, options), MAX_DOCUMENT_BYTES);
    return { mediaType: detectManifestType(bytes), digest, size };
  }
}

/** What an entry can be asked for by, the whole name first. */
function namesOf({ annotations = {} }: Descriptor): string[] {
  const names = [annotations[ANNOTATION_IMAGE_NAME], annotations[ANNOTATION_REF_NAME]];
  return names.filter((name) => name !== undefined);
}

/** Writes a document whole or not at all, and durably. */
async function replace(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await using file = await open(temporary, 'wx', 0o644);
    await file.writeFile(JSON.stringify(value));
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(join(path, '..'));
}
