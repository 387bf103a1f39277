/** Results on their way: documents from memory, layers from where they are. */
import { MEDIA_TYPES, type Descriptor, type Platform } from '@tare/image-spec';
import { copyGraph, MemoryContent, type ContentSink, type ContentSource } from '@tare/image-spec/content';

import {
  documentOf,
  imageDocuments,
  push,
  type ImageDocument,
  type NewImage,
  type NewLayer,
} from '../images/create.ts';

/** A manifest, or an index of them, with everything below it. */
export interface Documents {
  root: Descriptor;
  /** Also the root. */
  documents: readonly ImageDocument[];
  layers: readonly NewLayer[];
}

/** What a manifest refers to. */
export interface ManifestDocuments {
  config: ImageDocument;
  manifest: ImageDocument;
  layers: readonly NewLayer[];
}

/** A manifest with what it refers to. */
export function oneManifest({ config, manifest, layers }: ManifestDocuments): Documents {
  return { root: manifest.descriptor, documents: [config, manifest], layers };
}

/** An index of images, each for its platform. */
export async function indexOf(
  images: readonly { image: NewImage; platform: Platform }[],
): Promise<Documents> {
  const all = await Promise.all(
    images.map(async ({ image, platform }) => ({ platform, ...(await imageDocuments(image)) })),
  );
  const manifests = all.map(({ manifest, platform }) => ({ ...manifest.descriptor, platform }));
  const text = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests });
  const index = await documentOf(MEDIA_TYPES.ociIndex, Buffer.from(text));
  return {
    root: index.descriptor,
    documents: [...all.flatMap(({ config, manifest }) => [config, manifest]), index],
    layers: images.flatMap(({ image }) => image.layers),
  };
}

/** Where all of it can be read. @param blobs - has the layers */
export async function documentSource(
  blobs: ContentSource,
  { documents, layers }: Documents,
  signal: AbortSignal,
): Promise<ContentSource> {
  const own = new MemoryContent();
  for (const document of documents) await push(own, document, signal);
  const known = new Set(layers.map(({ descriptor }) => descriptor.digest));
  return {
    fetch: (descriptor, options) =>
      known.has(descriptor.digest) ? blobs.fetch(descriptor, options) : own.fetch(descriptor, options),
  };
}

/** Copies everything, the root last. @param blobs - has the layers */
export async function copyDocuments(
  blobs: ContentSource,
  sink: ContentSink,
  documents: Documents,
  signal: AbortSignal,
): Promise<Descriptor> {
  await copyGraph(await documentSource(blobs, documents, signal), sink, documents.root, { signal });
  return documents.root;
}
