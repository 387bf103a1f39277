/** Images for tests: layers pushed into a store, with manifest and config. */
import { gzipSync } from 'node:zlib';
import type { Descriptor, Digest } from '@tare/image-spec';
import type { ContentStore } from '@tare/image-spec/content';
import type { LayerToUnpack } from '../src/index.ts';
import { describeBlob, sha256, type TarBuilder } from '../src/testing/index.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** Pushes bytes as a blob. */
export async function pushBlob(
  content: ContentStore,
  bytes: Uint8Array,
  mediaType: string,
): Promise<Descriptor> {
  const descriptor = describeBlob(bytes, mediaType);
  await content.push(
    descriptor,
    (async function* () {
      yield bytes;
    })(),
  );
  return descriptor;
}

/** Pushes a layer, compressed. */
export async function pushLayer(content: ContentStore, tar: TarBuilder | Buffer): Promise<LayerToUnpack> {
  const archive = Buffer.isBuffer(tar) ? tar : tar.build();
  return { descriptor: await pushBlob(content, gzipSync(archive), LAYER), diffId: sha256(archive) };
}

/** Pushes config and manifest of an image with these layers. */
export async function pushImage(
  content: ContentStore,
  layers: readonly LayerToUnpack[],
): Promise<{ manifest: Descriptor; config: Descriptor }> {
  const diffIds: Digest[] = layers.map(({ diffId }) => diffId);
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const config = await pushBlob(
    content,
    json({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }),
    CONFIG,
  );
  const manifest = await pushBlob(
    content,
    json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config,
      layers: layers.map(({ descriptor }) => descriptor),
    }),
    MANIFEST,
  );
  return { manifest, config };
}
