/** Makes an image of layers that are in the content store: the end of commit, import, load and build. */
import {
  chainIds,
  digestOf,
  isEmptyLayer,
  MEDIA_TYPES,
  parseImageManifest,
  toOciMediaType,
  type Descriptor,
  type Digest,
  type ImageConfig,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';

import { systemError } from '../errors.ts';
import type { Image } from './image.ts';
import type { Images } from './images.ts';
import type { LayerUnpacker } from './pull.ts';

/** A layer's blob and the digest of the archive in it. */
export interface NewLayer {
  descriptor: Descriptor;
  diffId: Digest;
}

/** What an image is made of. */
export interface NewImage {
  /** Oldest first. */
  layers: readonly NewLayer[];
  /** The config, whose `rootfs` follows from the layers; or the bytes of one that exists and fits them. */
  config: Omit<ImageConfig, 'rootfs'> | Uint8Array;
  /** A manifest of it that is in the content store already. Default: one is written. */
  manifest?: Descriptor;
}

/** Larger manifests are not ours. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/**
 * Unpacks what is not unpacked yet, writes config and manifest, and adds the image, without a name. One that is there
 * already stays what it is.
 *
 * @returns the image's id
 */
export async function createImage(
  images: Images,
  unpacker: LayerUnpacker,
  { config, layers, manifest: given }: NewImage,
  signal: AbortSignal,
): Promise<Digest> {
  const diffIds = layers.map(({ diffId }) => diffId);
  const chain = await chainIds(diffIds);
  using _lease = images.leases.hold([...layers.map(({ descriptor }) => descriptor.digest), ...chain]);
  const sizes = await Promise.all(
    layers.map(async (layer, i) => {
      const chainId = chain[i]!;
      const onProgress = (): void => undefined;
      const usage = (await images.snapshots.stat(chainId, { signal }))
        ? await images.snapshots.usage(chainId, { signal })
        : await unpacker.unpackLayer({ ...layer, chainId }, chain[i - 1], { signal, onProgress });
      return { chainId, sizeBytes: usage.sizeBytes };
    }),
  );
  const text =
    config instanceof Uint8Array
      ? Buffer.from(config).toString('utf8')
      : JSON.stringify({ ...config, rootfs: { type: 'layers', diff_ids: diffIds } });
  const configDescriptor = await put(images, MEDIA_TYPES.ociConfig, text, signal);
  const manifest =
    given ?? (await put(images, MEDIA_TYPES.ociManifest, manifestText(configDescriptor, layers), signal));
  images.table.put({ id: configDescriptor.digest, chain, config: text }, sizes, manifest);
  return configDescriptor.digest;
}

function manifestText(config: Descriptor, layers: readonly NewLayer[]): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config,
    layers: layers.map(({ descriptor: { mediaType, digest, size } }) => ({
      mediaType: toOciMediaType(mediaType),
      digest,
      size,
    })),
  });
}

/** The layers of an image that is here, with their blobs. */
export async function layersOf(images: Images, image: Image, signal: AbortSignal): Promise<NewLayer[]> {
  const diffIds = image.config.rootfs.diff_ids;
  for (const descriptor of images.table.manifests(image.id)) {
    if (!(await images.content.has(descriptor, { signal }))) continue;
    const bytes = await readBytes(await images.content.fetch(descriptor, { signal }), MAX_DOCUMENT_BYTES);
    const manifest = parseImageManifest(bytes, descriptor);
    return manifest.layers.map((layer, i) => ({ descriptor: layer, diffId: diffIds[i]! }));
  }
  throw systemError(`the manifest of image ${image.id} is missing from the content store; pull it again`);
}

/** The layers with one more on top, unless that changes nothing. */
export function withLayer(
  layers: readonly NewLayer[],
  layer: NewLayer,
): { layers: NewLayer[]; empty: boolean } {
  const empty = isEmptyLayer(layer.diffId);
  return { layers: empty ? [...layers] : [...layers, layer], empty };
}

async function put(
  images: Images,
  mediaType: string,
  text: string,
  signal: AbortSignal,
): Promise<Descriptor> {
  const bytes = new TextEncoder().encode(text);
  const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.length };
  await images.content.push(descriptor, once(bytes), { signal });
  return descriptor;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
