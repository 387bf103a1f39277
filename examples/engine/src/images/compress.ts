/**
 * Compresses images for a registry. A commit leaves its layer uncompressed, for few of those are ever pushed; the first
 * push makes a manifest of compressed ones, which the image is known by from then on.
 */
import {
  MEDIA_TYPES,
  parseImageManifest,
  type Descriptor,
  type Digest,
  type ImageManifest,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { systemError } from '../errors.ts';
import { imageDocuments, push, type NewLayer } from './create.ts';
import type { Images } from './images.ts';

/** Compresses layers: a part of `LayerStore` of `@tare/layer-store`. */
export interface LayerCompressor {
  importLayer(archive: AsyncIterable<Uint8Array>, options: { signal: AbortSignal }): Promise<NewLayer>;
}

/** Larger manifests are not ours. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/**
 * The manifest to push of the several that an image may be known by: the first whose document is here. One that came from
 * a registry stays what it is, or the image's digest would change; of any other, uncompressed layers are compressed.
 */
export async function manifestToPush(
  images: Images,
  compressor: LayerCompressor,
  id: Digest,
  signal: AbortSignal,
): Promise<{ descriptor: Descriptor; manifest: ImageManifest }> {
  for (const descriptor of images.table.manifests(id)) {
    if (!(await images.content.has(descriptor, { signal }))) continue;
    const manifest = await readManifest(images, descriptor, signal);
    const plain = manifest.layers.some(isPlain) && images.table.digests(id).length === 0;
    return plain ? compress(images, compressor, id, manifest, signal) : { descriptor, manifest };
  }
  throw systemError(`the manifest of image ${id} is missing from the content store; pull it again`);
}

async function compress(
  images: Images,
  compressor: LayerCompressor,
  id: Digest,
  plain: ImageManifest,
  signal: AbortSignal,
): Promise<{ descriptor: Descriptor; manifest: ImageManifest }> {
  using _lease = images.leases.hold([id, ...plain.layers.map(({ digest }) => digest)]);
  const diffIds = images.get(id).config.rootfs.diff_ids;
  const layers: NewLayer[] = [];
  for (const [i, descriptor] of plain.layers.entries()) {
    layers.push(
      isPlain(descriptor)
        ? await compressor.importLayer(await images.content.fetch(descriptor, { signal }), { signal })
        : { descriptor, diffId: diffIds[i]! },
    );
  }
  const config = await readBytes(await images.content.fetch(plain.config, { signal }), MAX_DOCUMENT_BYTES);
  const documents = await imageDocuments({ config, layers });
  const { descriptor } = documents.manifest;
  using _new = images.leases.hold([descriptor.digest, ...layers.map((layer) => layer.descriptor.digest)]);
  await push(images.content, documents.manifest, signal);
  // throws when the image was removed meanwhile
  images.get(id);
  images.table.putManifestFirst(id, descriptor);
  return { descriptor, manifest: parseImageManifest(documents.manifest.bytes, descriptor) };
}

async function readManifest(
  images: Images,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<ImageManifest> {
  const bytes = await readBytes(await images.content.fetch(descriptor, { signal }), MAX_DOCUMENT_BYTES);
  return parseImageManifest(bytes, descriptor);
}

function isPlain({ mediaType }: Descriptor): boolean {
  return mediaType === MEDIA_TYPES.ociLayer;
}
