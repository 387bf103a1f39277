import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEDIA_TYPES, parseDigest, type Descriptor } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { openFileContent } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';
import { expect, test } from 'vitest';
import { startRegistry } from '../src/index.ts';

async function add(store: MemoryContent, mediaType: string, content: Buffer | object): Promise<Descriptor> {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  const descriptor = { mediaType, digest, size: bytes.byteLength };
  await store.push(descriptor, (async function* () { yield bytes; })()); // prettier-ignore
  return descriptor;
}

test('an index pushed by the client comes back whole, is mounted elsewhere, and can be deleted', async () => {
  const root = await mkdtemp(join(tmpdir(), 'tare-registry-client-'));
  try {
    await using registry = await startRegistry({ root });
    await using client = new RegistryClient();
    const { host } = new URL(registry.url);
    const store = new MemoryContent();
    const manifests: Descriptor[] = [];
    for (const architecture of ['amd64', 'arm64']) {
      const layer = await add(store, MEDIA_TYPES.ociLayer, Buffer.alloc(300_000, architecture));
      const rootfs = { type: 'layers', diff_ids: [layer.digest] };
      const config = await add(store, MEDIA_TYPES.ociConfig, { architecture, os: 'linux', rootfs });
      const manifest = { schemaVersion: 2, config, layers: [layer] };
      manifests.push({
        ...(await add(store, MEDIA_TYPES.ociManifest, manifest)),
        platform: { architecture, os: 'linux' },
      });
    }
    const index = await add(store, MEDIA_TYPES.ociIndex, { schemaVersion: 2, manifests });

    const repository = client.repository(`${host}/team/app`);
    await copyGraph(store, repository, index);
    await repository.tag(index, 'v1');
    expect(await repository.resolve('v1')).toEqual(index);
    const back = new MemoryContent();
    await copyGraph(repository, back, index);
    expect((await Array.fromAsync(back.list())).length).toBe((await Array.fromAsync(store.list())).length);

    const kinds = new Set<string>();
    const other = client.repository(`${host}/other`, {
      mountFrom: ['team/app'],
      onTransfer: ({ kind }) => kinds.add(kind),
    });
    await copyGraph(store, other, index);
    expect(kinds).toEqual(new Set(['mounted']));
    expect(await Array.fromAsync(client.catalog(host, { pageSize: 1 }))).toEqual(['other', 'team/app']);

    await repository.delete(index);
    await expect(repository.resolve('v1')).rejects.toMatchObject({ errors: [{ code: 'MANIFEST_UNKNOWN' }] });
    expect(await other.has(index)).toBe(true);
  } finally {
    await rm(root, { recursive: true });
  }
});

test('referrers come from the API in pages, and no fallback tag is written', async () => {
  const root = await mkdtemp(join(tmpdir(), 'tare-registry-client-'));
  try {
    await using registry = await startRegistry({ root });
    await using client = new RegistryClient();
    const { host } = new URL(registry.url);
    const repository = client.repository(`${host}/app`);
    const store = new MemoryContent();
    const config = await add(store, MEDIA_TYPES.ociConfig, { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [] } }); // prettier-ignore
    const subject = await add(store, MEDIA_TYPES.ociManifest, { schemaVersion: 2, config, layers: [] });
    await copyGraph(store, repository, subject);
    const all: Descriptor[] = [];
    for (let i = 0; i < 202; i++) {
      const artifact = {
        schemaVersion: 2,
        artifactType: `a/${i % 2}`,
        config,
        layers: [],
        subject,
        annotations: { i: `${i}` },
      };
      all.push(await add(store, MEDIA_TYPES.ociManifest, artifact));
    }
    await copyGraph(store, repository, all[0]!);
    await Promise.all(all.map((each) => copyGraph(store, repository, each)));
    const listed = await Array.fromAsync(repository.referrers(subject));
    expect(listed.map(({ digest }) => digest).sort()).toEqual(all.map(({ digest }) => digest).sort());
    const half = await Array.fromAsync(repository.referrers(subject, { artifactType: 'a/1' }));
    expect(half.length).toBe(101);
    await repository.delete(all[1]!);
    expect((await Array.fromAsync(repository.referrers(subject, { artifactType: 'a/1' }))).length).toBe(100);
    expect(await Array.fromAsync(repository.tags())).toEqual([]);
  } finally {
    await rm(root, { recursive: true });
  }
}, 60_000);

test('a blob that was damaged on disk is found out while it is pushed, and is not sent whole', async () => {
  const root = await mkdtemp(join(tmpdir(), 'tare-registry-client-'));
  try {
    await using registry = await startRegistry({ root: join(root, 'registry') });
    await using client = new RegistryClient();
    const store = await openFileContent(join(root, 'content'));
    const bytes = randomBytes(1_000_000);
    const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    const blob = { mediaType: MEDIA_TYPES.ociLayer, digest, size: bytes.byteLength };
    await store.push(blob, (async function* () { yield bytes; })()); // prettier-ignore
    bytes[500_000]! ^= 1;
    await rm(store.path(digest));
    await writeFile(store.path(digest), bytes);
    const repository = client.repository(`${new URL(registry.url).host}/app`);
    await expect(copyGraph(store, repository, blob)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(await repository.has(blob)).toBe(false);
  } finally {
    await rm(root, { recursive: true });
  }
});
