/** `docker save`: images as one archive that is an OCI layout and what `docker load` has always read, at once. */
import {
  blobPath,
  familiarReference,
  LAYOUT_FILE,
  LAYOUT_INDEX_FILE,
  LAYOUT_VERSION,
  MEDIA_TYPES,
  parseReference,
  withDefaultTag,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '@tare/layer-store';

import { invalid, systemError } from '../errors.ts';
import { layersOf } from './create.ts';
import type { Image } from './image.ts';
import type { Images } from './images.ts';
import { canonicalTag } from './names.ts';

/** One image with the names it is saved under. */
interface SavedImage {
  image: Image;
  manifest: Descriptor;
  layers: Descriptor[];
  /** Canonical: `docker.io/library/busybox:latest`. */
  names: Set<string>;
}

/**
 * The archive of `references`: names, which are kept, repositories, of which all names are saved, or ids, which are
 * saved without a name. A blob that several images share is in it once.
 *
 * @throws {EngineError} `NOT_FOUND`, before the first byte
 */
export async function saveImages(
  images: Images,
  references: readonly string[],
  signal: AbortSignal,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  if (references.length === 0) throw invalid('no images to save: name at least one');
  const saved = new Map<Digest, SavedImage>();
  for (const reference of references) {
    const image = images.resolve(reference);
    let entry = saved.get(image.id);
    if (!entry) {
      entry = { image, ...(await blobsOf(images, image, signal)), names: new Set() };
      saved.set(image.id, entry);
    }
    const name = nameOf(images, reference, image);
    if (name !== undefined) entry.names.add(name);
  }
  return archive(images, [...saved.values()], signal);
}

/** The archive of one image, under canonical names that it need not have here. */
export async function saveImageAs(
  images: Images,
  id: Digest,
  names: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  const image = images.get(id);
  return archive(
    images,
    [{ image, ...(await blobsOf(images, image, signal)), names: new Set(names) }],
    signal,
  );
}

/** The name that `reference` is; undefined when it is an id. */
function nameOf(images: Images, reference: string, image: Image): string | undefined {
  if (/^(sha256:)?[0-9a-f]{64}$/.test(reference)) return undefined;
  const parsed = parseReference(reference);
  return parsed.digest === undefined && images.named(parsed) === image.id
    ? canonicalTag(withDefaultTag(parsed))
    : undefined;
}

async function blobsOf(
  images: Images,
  image: Image,
  signal: AbortSignal,
): Promise<Pick<SavedImage, 'manifest' | 'layers'>> {
  const layers = (await layersOf(images, image, signal)).map(({ descriptor }) => descriptor);
  for (const manifest of images.table.manifests(image.id)) {
    if (await images.content.has(manifest, { signal })) return { manifest, layers };
  }
  throw systemError(`the manifest of image ${image.id} is missing from the content store; pull it again`);
}

async function* archive(
  images: Images,
  saved: readonly SavedImage[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  // what a `rmi` meanwhile leaves without a name is not swept away below the archive
  using _lease = images.leases.hold(
    saved.flatMap(({ image, manifest, layers }) => [
      image.id,
      manifest.digest,
      ...layers.map(({ digest }) => digest),
    ]),
  );
  const written = new Set<Digest>();
  yield header('directory', 'blobs/');
  yield header('directory', 'blobs/sha256/');
  for (const { image, manifest, layers } of saved) {
    const config = {
      mediaType: MEDIA_TYPES.ociConfig,
      digest: image.id,
      size: await sizeOf(images, image.id),
    };
    for (const descriptor of [...layers, config, manifest]) {
      if (written.has(descriptor.digest)) continue;
      written.add(descriptor.digest);
      yield header('file', blobPath(descriptor.digest), descriptor.size);
      yield* await images.content.fetch(descriptor, { signal });
      yield tarPadding(descriptor.size);
    }
  }
  yield* document(LAYOUT_INDEX_FILE, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: saved.flatMap(({ manifest, image, names }) => {
      const { mediaType, digest, size } = manifest;
      const { architecture, os, variant } = image.config;
      const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
      const entry = { mediaType, digest, size, platform };
      if (names.size === 0) return [entry];
      return [...names].map((name) => ({
        ...entry,
        annotations: {
          'io.containerd.image.name': name,
          'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
        },
      }));
    }),
  });
  yield* document(
    'manifest.json',
    saved.map(({ image, layers, names }) => ({
      Config: blobPath(image.id),
      RepoTags: names.size > 0 ? [...names].map(familiarName) : null,
      Layers: layers.map(({ digest }) => blobPath(digest)),
    })),
  );
  yield* document(LAYOUT_FILE, { imageLayoutVersion: LAYOUT_VERSION });
  yield TAR_END;
}

function familiarName(name: string): string {
  return familiarReference(parseReference(name));
}

async function sizeOf(images: Images, digest: Digest): Promise<number> {
  const info = await images.content.info(digest);
  if (!info)
    throw systemError(`the config of image ${digest} is missing from the content store; pull it again`);
  return info.size;
}

function header(type: 'file' | 'directory', name: string, size = 0): Uint8Array {
  return encodeTarHeader(tarEntry(type, name, { size }));
}

function* document(name: string, value: unknown): Generator<Uint8Array, void, undefined> {
  const bytes = Buffer.from(JSON.stringify(value));
  yield header('file', name, bytes.length);
  yield bytes;
  yield tarPadding(bytes.length);
}
