/** What the tests share: an image, bytes that do not repeat, a client that does not wait long. */
import { createHash } from 'node:crypto';
import { MEDIA_TYPES, parseDigest, type Descriptor } from '@tare/image-spec';
import { RegistryClient, type RegistryClientOptions } from '../src/index.ts';
import type { TestRegistry } from '../src/testing/index.ts';

/** A client that retries at once. */
export function quickClient(options: RegistryClientOptions = {}): RegistryClient {
  return new RegistryClient({ retry: { baseMs: 1, maxMs: 2 }, ...options });
}

/** Adds an image of one layer to `registry`; returns its descriptors. */
export function addImage(registry: TestRegistry, repository: string, tag: string, layerBytes = 1_000) {
  const layer = registry.addBlob(noise(layerBytes), MEDIA_TYPES.ociLayer);
  const config = registry.addBlob(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    }),
    MEDIA_TYPES.ociConfig,
  );
  const mediaType = MEDIA_TYPES.ociManifest;
  const manifest = registry.addManifest(repository, tag, mediaType, {
    schemaVersion: 2,
    mediaType,
    config,
    layers: [layer],
  });
  return { layer, config, manifest };
}

/** `size` bytes that do not repeat. */
export function noise(size: number): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; blocks.length * 64 < size; i++)
    blocks.push(createHash('sha512').update(String(i)).digest());
  return Buffer.concat(blocks).subarray(0, size);
}

export function describeBytes(bytes: Uint8Array, mediaType = 'application/octet-stream'): Descriptor {
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  return { mediaType, digest, size: bytes.byteLength };
}

export async function* chunks(bytes: Uint8Array, size = 16_384): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < bytes.byteLength; start += size) yield bytes.subarray(start, start + size);
}

export async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(content));
}
