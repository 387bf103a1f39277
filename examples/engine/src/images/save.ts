/** `docker save`: images as one archive that is an OCI layout and what `docker load` has always read, at once. */
import { parseReference, withDefaultTag, type Descriptor, type Digest } from '@tare/image-spec';
import { writeImageArchive } from '@tare/layer-store/archive';

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
  const named = saved.map(({ manifest, names }) => ({ descriptor: manifest, names: [...names] }));
  yield* writeImageArchive(images.content, named, { signal });
}
