import { expect, test } from 'vitest';
import type { TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { chunks, describeBytes, noise, quickClient } from './support.ts';

const bytes = noise(200_000);
const descriptor = describeBytes(bytes);

test('a large blob goes in chunks, a small one in one request', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const repository = client.repository(`${registry.host}/app`, { chunkBytes: 65_536 });
  await repository.push(descriptor, chunks(bytes));
  expect(registry.blobs.get(descriptor.digest)).toEqual(bytes);
  const patches = registry.requests.filter(({ method }) => method === 'PATCH');
  expect(patches.map(({ headers }) => headers['content-range'])).toEqual([
    '0-65535',
    '65536-131071',
    '131072-196607',
    '196608-199999',
  ]);
  await repository.push(describeBytes(noise(100)), chunks(noise(100)));
  expect(registry.requests.filter(({ method }) => method === 'PATCH').length).toBe(4);
});

test('goes on with what the registry lacks after a connection broke in a chunk', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  registry.intercept(/^PATCH/, (_request, _response, serve) => serve({ cutUploadAfterBytes: 10_000 }), 3);
  const events: TransferEvent[] = [];
  const repository = client.repository(`${registry.host}/app`, {
    chunkBytes: 65_536,
    onTransfer: (event) => events.push(event),
  });
  await repository.push(descriptor, chunks(bytes));
  expect(registry.blobs.get(descriptor.digest)).toEqual(bytes);
  expect(events.filter(({ kind }) => kind === 'retry').length).toBe(3);
  expect(registry.requests.filter(({ method }) => method === 'PATCH')[1]!.headers['content-range']).toBe(
    '10000-65535',
  );
});

test('never sends the last chunk of content that is wrong', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const repository = client.repository(`${registry.host}/app`, { chunkBytes: 65_536 });
  const wrong = Buffer.from(bytes).fill(0, 199_999);
  await expect(repository.push(descriptor, chunks(wrong))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(registry.log().at(-1)).toMatch(/^DELETE /);
  expect(registry.log().some((line) => line.startsWith('PUT'))).toBe(false);
  expect(registry.blobs.size).toBe(0);
});

test('gives up on a registry that takes no chunk, and cancels', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  registry.intercept(/^PATCH/, answer(503), 100);
  const repository = client.repository(`${registry.host}/app`, { chunkBytes: 65_536 });
  await expect(repository.push(descriptor, chunks(bytes))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(registry.log().filter((line) => line.startsWith('PATCH')).length).toBe(5);
  expect(registry.log().at(-1)).toMatch(/^DELETE /);
});
