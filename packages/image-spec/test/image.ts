/** Small images in memory, for tests. */
import type { ContentSink, ContentStore } from '../src/content/index.ts';
import { MEDIA_TYPES, digestOf, type Descriptor, type Platform } from '../src/index.ts';

const encoder = new TextEncoder();

/** Pushes bytes, text or an object (as JSON) and returns its descriptor. */
export async function put(
  sink: ContentSink,
  mediaType: string,
  content: Uint8Array | string | object,
): Promise<Descriptor> {
  const bytes =
    content instanceof Uint8Array
      ? content
      : encoder.encode(typeof content === 'string' ? content : JSON.stringify(content));
  const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.byteLength };
  await sink.push(
    descriptor,
    (async function* () {
      yield bytes;
    })(),
  );
  return descriptor;
}

/** An image of two layers, told apart from others by `name`. */
export async function putImage(store: ContentStore, name: string): Promise<Descriptor> {
  const layers = [
    await put(store, MEDIA_TYPES.ociLayer, 'the base that all share'),
    await put(store, MEDIA_TYPES.ociLayer, `layer of ${name}`),
  ];
  const config = await put(store, MEDIA_TYPES.ociConfig, {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    config: { Cmd: [name] },
  });
  return put(store, MEDIA_TYPES.ociManifest, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config,
    layers,
  });
}

/** An index of one image per platform. */
export async function putIndex(store: ContentStore, platforms: readonly Platform[]): Promise<Descriptor> {
  const manifests: Descriptor[] = [];
  for (const platform of platforms) {
    manifests.push({ ...(await putImage(store, `${platform.os}/${platform.architecture}`)), platform });
  }
  return put(store, MEDIA_TYPES.ociIndex, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests });
}
