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
import { readBytes, type ContentSink } from '@tare/image-spec/content';

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
  const documents = await imageDocuments({ config, layers });
  const text = Buffer.from(documents.config.bytes).toString('utf8');
  const { descriptor: configDescriptor } = documents.config;
  // at once: the disk is waited for by each, and neither is looked for before the image is in the table
  const written = given === undefined ? [documents.config, documents.manifest] : [documents.config];
  await Promise.all(written.map((document) => push(images.content, document, signal)));
  const manifest = given ?? documents.manifest.descriptor;
  images.table.put({ id: configDescriptor.digest, chain, config: text }, sizes, manifest);
  return configDescriptor.digest;
}

/** A document of an image, and how it is referred to. */
export interface ImageDocument {
  descriptor: Descriptor;
  bytes: Uint8Array;
}

/** Config and manifest of an image whose layers are somewhere already. */
export async function imageDocuments({
  config,
  layers,
}: Pick<NewImage, 'config' | 'layers'>): Promise<{ config: ImageDocument; manifest: ImageDocument }> {
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const own = config instanceof Uint8Array ? config : encode({ ...config, rootfs });
  const configDocument = await documentOf(MEDIA_TYPES.ociConfig, own);
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: configDocument.descriptor,
    layers: layers.map(({ descriptor: { mediaType, digest, size } }) => ({
      mediaType: toOciMediaType(mediaType),
      digest,
      size,
    })),
  };
  return { config: configDocument, manifest: await documentOf(MEDIA_TYPES.ociManifest, encode(manifest)) };
}

/** Bytes as a document of a type. */
export async function documentOf(mediaType: string, bytes: Uint8Array): Promise<ImageDocument> {
  return { descriptor: { mediaType, digest: await digestOf(bytes), size: bytes.length }, bytes };
}

/** Writes a document to where blobs are kept. */
export async function push(
  sink: ContentSink,
  { descriptor, bytes }: ImageDocument,
  signal: AbortSignal,
): Promise<void> {
  await sink.push(descriptor, once(bytes), { signal });
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
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

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
