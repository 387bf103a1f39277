/** Registry client and content store together: what was downloaded before a failure is not downloaded again. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEDIA_TYPES, parseDigest, type Descriptor } from '@tare/image-spec';
import { copyGraph } from '@tare/image-spec/content';
import { openFileContent } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';
import { startTestRegistry, type TestRegistry } from '@tare/registry-client/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';

const LAYER_BYTES = 4_000_000;
const CUT_AT = 3_000_000;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-resume-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function addImage(registry: TestRegistry): { manifest: Descriptor; layer: Descriptor } {
  const put = (mediaType: string, bytes: Buffer): Descriptor => {
    const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    registry.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const config = put(MEDIA_TYPES.ociConfig, Buffer.from('{}'));
  const layer = put(MEDIA_TYPES.ociLayer, randomBytes(LAYER_BYTES));
  const mediaType = MEDIA_TYPES.ociManifest;
  const document = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [layer] }));
  const manifest = put(mediaType, document);
  registry.manifests.set(`app@${manifest.digest}`, { mediaType, bytes: document });
  return { manifest, layer };
}

test('a copy that failed goes on from the byte where it broke off, in another process of the store', async () => {
  await using registry = await startTestRegistry();
  const { manifest, layer } = addImage(registry);
  await using client = new RegistryClient({ retry: { attempts: 1 } });
  const repository = client.repository(`${registry.host}/app`);
  const blob = new RegExp(`GET .*${layer.digest}`);
  registry.intercept(blob, async (_request, response) => {
    response.writeHead(200, { 'content-length': LAYER_BYTES });
    response.write(registry.blobs.get(layer.digest)!.subarray(0, CUT_AT));
    // a reset connection loses what is on its way: some has to have arrived
    await eventually('a part of the layer is on the disk', async () => {
      const [name] = (await readdir(join(root, 'ingest'))).filter((file) =>
        file.endsWith(layer.digest.slice(7)),
      );
      return name !== undefined && (await stat(join(root, 'ingest', name))).size >= 1_000_000
        ? true
        : undefined;
    });
    response.destroy();
  });
  registry.intercept(blob, (request) => void request.destroy(), 20);
  const store = await openFileContent(root);
  await expect(copyGraph(repository, store, manifest)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  expect(await store.has(manifest)).toBe(false);
  expect(await readdir(join(root, 'ingest'))).toContain(`partial.sha256-${layer.digest.slice(7)}`);

  await using healthy = await startTestRegistry();
  for (const [digest, bytes] of registry.blobs) healthy.blobs.set(digest, bytes);
  for (const [name, document] of registry.manifests) healthy.manifests.set(name, document);
  const again = await openFileContent(root);
  await copyGraph(client.repository(`${healthy.host}/app`), again, manifest);
  const ranges = healthy.requests
    .filter(({ path }) => path.includes(layer.digest))
    .map(({ headers }) => headers.range);
  expect(ranges).toHaveLength(1);
  const begin = Number(/^bytes=(\d+)-$/.exec(ranges[0] ?? '')?.[1]);
  expect(begin >= 1_000_000 && begin <= CUT_AT).toBe(true);
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
});

test('ten copies at a time ask the registry once for a layer', async () => {
  await using registry = await startTestRegistry();
  const { manifest, layer } = addImage(registry);
  await using client = new RegistryClient();
  const store = await openFileContent(root);
  await Promise.all(
    Array.from({ length: 10 }, () => copyGraph(client.repository(`${registry.host}/app`), store, manifest)),
  );
  expect(registry.requests.filter(({ path }) => path.includes(layer.digest))).toHaveLength(1);
});
