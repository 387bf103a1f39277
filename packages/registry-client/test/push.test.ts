import { MEDIA_TYPES } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { expect, test } from 'vitest';
import type { TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { addImage, chunks, describeBytes, noise, quickClient } from './support.ts';

test('an image copied between registries arrives whole and tagged', async () => {
  await using from = await startTestRegistry();
  await using to = await startTestRegistry();
  await using client = quickClient();
  const { manifest, layer } = addImage(from, 'app', 'v1', 300_000);
  const target = client.repository(`${to.host}/copy/app`);
  await copyGraph(client.repository(`${from.host}/app`), target, manifest);
  await target.tag(manifest, 'v2');
  expect(await target.resolve('v2')).toEqual(manifest);
  expect(Buffer.from(to.blobs.get(layer.digest)!).equals(from.blobs.get(layer.digest)!)).toBe(true);
  // what was pushed a moment ago is not fetched again to be tagged
  expect(to.log().filter((line) => line.startsWith('GET'))).toEqual([]);
});

test('what the registry has is not sent again', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = registry.addBlob(noise(1_000));
  const events: TransferEvent[] = [];
  const repository = client.repository(`${registry.host}/app`, { onTransfer: (event) => events.push(event) });
  await repository.push(descriptor, chunks(noise(1_000)));
  expect(registry.log()).toEqual([`HEAD /v2/app/blobs/${descriptor.digest}`]);
  expect(events.map(({ kind }) => kind)).toEqual(['exists']);
});

test('a blob is sent in one request whose length and type are told, and progress with it', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const bytes = noise(200_000);
  const descriptor = describeBytes(bytes);
  const events: TransferEvent[] = [];
  const repository = client.repository(`${registry.host}/app`, { onTransfer: (event) => events.push(event) });
  await repository.push(descriptor, chunks(bytes));
  expect(Buffer.from(registry.blobs.get(descriptor.digest)!).equals(bytes)).toBe(true);
  const put = registry.requests.find(({ method }) => method === 'PUT')!;
  expect(put.headers['content-length']).toBe('200000');
  expect(put.path).toBe(
    `/v2/app/blobs/uploads/1?state=opaque&digest=${encodeURIComponent(descriptor.digest)}`,
  );
  expect(events[0]!.kind).toBe('start');
  expect(events.at(-1)).toMatchObject({ kind: 'done', transferredBytes: 200_000 });
});

test('an empty blob can be pushed', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = describeBytes(new Uint8Array());
  await client.repository(`${registry.host}/app`).push(descriptor, chunks(new Uint8Array()));
  expect(registry.blobs.get(descriptor.digest)?.byteLength).toBe(0);
});

test('a blob is mounted where the registry can, and sent where it cannot', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const bytes = noise(1_000);
  const descriptor = registry.addBlob(bytes);
  const events: TransferEvent[] = [];
  const repository = client.repository(`${registry.host}/app`, {
    mountFrom: ['library/base'],
    onTransfer: (event) => events.push(event),
  });
  registry.intercept(/^HEAD/, answer(404), 2);
  await repository.push(descriptor, chunks(bytes));
  expect(registry.log().at(-1)).toMatch(/^POST .*mount=sha256%3A.*&from=library%2Fbase$/);
  expect(events.map(({ kind }) => kind)).toEqual(['mounted']);

  registry.blobs.clear();
  await repository.push(descriptor, chunks(bytes));
  expect(registry.blobs.has(descriptor.digest)).toBe(true);
  expect(registry.log().filter((line) => line.startsWith('POST')).length).toBe(2);
});

test('a refused mount falls back to an upload', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const bytes = noise(1_000);
  registry.intercept(/POST .*mount/, answer(403));
  const repository = client.repository(`${registry.host}/app`, { mountFrom: ['library/base'] });
  await repository.push(describeBytes(bytes), chunks(bytes));
  expect(registry.blobs.size).toBe(1);
});

test.each([
  ['too long', noise(1_001), 'SIZE_MISMATCH'],
  ['too short', noise(999), 'SIZE_MISMATCH'],
  ['wrong', Buffer.alloc(1_000), 'DIGEST_MISMATCH'],
])('content that is %s is not stored, and the upload is cancelled', async (_, bytes, code) => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = describeBytes(noise(1_000));
  const push = client.repository(`${registry.host}/app`).push(descriptor, chunks(bytes, 100));
  await expect(push).rejects.toMatchObject({ code });
  expect(registry.blobs.size).toBe(0);
  // which of the two the registry sees last, the broken PUT or the DELETE, is a matter of scheduling
  expect(registry.log().filter((line) => /^DELETE .*uploads/.test(line)).length).toBe(1);
});

test('a source that breaks is what the push rejects with', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const broken = new Error('the disk is gone');
  const push = client.repository(`${registry.host}/app`).push(
    describeBytes(noise(1_000)),
    (async function* () {
      yield noise(1_000).subarray(0, 500);
      throw broken;
    })(),
  );
  await expect(push).rejects.toBe(broken);
  expect(registry.blobs.size).toBe(0);
});

test('an aborted push rejects with the reason', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const reason = new Error('enough');
  const controller = new AbortController();
  const push = client.repository(`${registry.host}/app`).push(
    describeBytes(noise(1_000)),
    (async function* () {
      yield noise(1_000).subarray(0, 500);
      controller.abort(reason);
      yield noise(1_000).subarray(500);
    })(),
    { signal: controller.signal },
  );
  await expect(push).rejects.toBe(reason);
  expect(registry.blobs.size).toBe(0);
});

test('a wrong manifest is not sent at all', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = { ...describeBytes(Buffer.from('{"a":1}')), mediaType: MEDIA_TYPES.ociManifest };
  const push = client.repository(`${registry.host}/app`).push(descriptor, chunks(Buffer.from('{"a":2}')));
  await expect(push).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(registry.log()).toEqual([]);
});

test('the registry that refuses says why', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'quota exceeded' }] });
  registry.intercept(/POST/, answer(403, {}, body));
  const push = client.repository(`${registry.host}/app`).push(describeBytes(noise(10)), chunks(noise(10)));
  await expect(push).rejects.toMatchObject({
    code: 'DENIED',
    message: expect.stringContaining('quota exceeded'),
  });
});

test('deleting takes manifests and blobs away, and what is not there is no error', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const { manifest, layer } = addImage(registry, 'app', 'v1');
  const repository = client.repository(`${registry.host}/app`);
  await repository.delete(manifest);
  await repository.delete(layer);
  await repository.delete(layer);
  expect(await repository.has(manifest)).toBe(false);
  expect(await repository.has(layer)).toBe(false);
  registry.intercept(/DELETE/, answer(405));
  await expect(repository.delete(layer)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});

test('a store in memory can be pushed as a whole', async () => {
  await using registry = await startTestRegistry();
  await using source = await startTestRegistry();
  await using client = quickClient();
  const { manifest } = addImage(source, 'app', 'v1');
  const store = new MemoryContent();
  await copyGraph(client.repository(`${source.host}/app`), store, manifest);
  await copyGraph(store, client.repository(`${registry.host}/app`), manifest);
  expect(registry.log().at(-1)).toBe(`PUT /v2/app/manifests/${manifest.digest}`);
});
