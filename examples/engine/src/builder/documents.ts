/** Results on their way: config and manifest from memory, layers from where they are. */
import type { Descriptor } from '@tare/image-spec';
import { copyGraph, MemoryContent, type ContentSink, type ContentSource } from '@tare/image-spec/content';

import { push, type ImageDocument, type NewLayer } from '../images/create.ts';

/** Copies what a manifest refers to, and then itself. @param blobs - has the layers */
export async function copyDocuments(
  blobs: ContentSource,
  sink: ContentSink,
  {
    config,
    manifest,
    layers,
  }: { config: ImageDocument; manifest: ImageDocument; layers: readonly NewLayer[] },
  signal: AbortSignal,
): Promise<Descriptor> {
  const own = new MemoryContent();
  for (const document of [config, manifest]) await push(own, document, signal);
  const known = new Set(layers.map(({ descriptor }) => descriptor.digest));
  const source: ContentSource = {
    fetch: (descriptor, options) =>
      known.has(descriptor.digest) ? blobs.fetch(descriptor, options) : own.fetch(descriptor, options),
  };
  await copyGraph(source, sink, manifest.descriptor, { signal });
  return manifest.descriptor;
}
