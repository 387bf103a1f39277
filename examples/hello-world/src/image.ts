/** Packs the hello-world program into a one-layer OCI image and writes it to any content sink, such as a registry. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { parseDigest, type Descriptor } from '@tare/image-spec';
import type { ContentSink, Tagger } from '@tare/image-spec/content';
import { pack } from 'tar-stream';

const PROGRAM = join(import.meta.dirname, '..', 'build', 'hello');

/** GOARCH names of the processors that hello.c is written for. */
const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Builds the image and pushes it as `tag`. Returns the manifest's descriptor. The same program gives the same digest.
 *
 * @throws {Error} `ENOENT` when the program was not compiled (`node scripts/build.mjs`)
 */
export async function pushHelloWorld(sink: ContentSink & Tagger, tag = 'latest'): Promise<Descriptor> {
  const tar = await archive('hello', await readFile(PROGRAM));
  const compressed = await promisify(gzip)(tar, { level: 9 });
  const layer = await push(sink, 'application/vnd.oci.image.layer.v1.tar+gzip', compressed);
  const config = await push(
    sink,
    'application/vnd.oci.image.config.v1+json',
    json({
      created: new Date(0).toISOString(),
      architecture: ARCHITECTURES[process.arch],
      os: 'linux',
      config: { Cmd: ['/hello'] },
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
      history: [{ created: new Date(0).toISOString(), created_by: 'COPY hello /' }],
    }),
  );
  const manifest = await push(
    sink,
    'application/vnd.oci.image.manifest.v1+json',
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config,
      layers: [layer],
    }),
  );
  await sink.tag(manifest, tag);
  return manifest;
}

/** A tar of one executable, the same bytes every time. */
async function archive(name: string, content: Buffer): Promise<Buffer> {
  const tar = pack();
  tar.entry({ name, mode: 0o755, mtime: new Date(0) }, content);
  tar.finalize();
  return Buffer.concat(await Array.fromAsync(tar as AsyncIterable<Buffer>));
}

async function push(sink: ContentSink, mediaType: string, bytes: Buffer): Promise<Descriptor> {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  await sink.push(descriptor, chunks(bytes));
  return descriptor;
}

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function digestOf(bytes: Buffer) {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
