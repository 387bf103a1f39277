import { chmod, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryContent } from '@tare/image-spec/content';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkContent, openFileContent } from '../../src/index.ts';
import { pushBlob } from '../images.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-check-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('finds blobs that are not what their names say, and fetches them again', async () => {
  const store = await openFileContent(root);
  const empty = new MemoryContent();
  const origin = new MemoryContent();
  const blobs = await Promise.all(
    ['whole', 'flipped', 'shorter', 'longer', 'lost'].map((text) =>
      pushBlob(store, Buffer.from(text), 'text/plain'),
    ),
  );
  const [whole, flipped, shorter, longer, lost] = blobs as [
    (typeof blobs)[0],
    (typeof blobs)[0],
    (typeof blobs)[0],
    (typeof blobs)[0],
    (typeof blobs)[0],
  ];
  for (const [text, blob] of [
    ['flipped', flipped],
    ['shorter', shorter],
    ['longer', longer],
  ] as const) {
    await pushBlob(origin, Buffer.from(text), blob.mediaType);
  }
  for (const { digest } of [flipped, shorter, longer, lost]) await chmod(store.path(digest), 0o600);
  await writeFile(store.path(flipped.digest), 'flippeD');
  await truncate(store.path(shorter.digest), 2);
  await writeFile(store.path(longer.digest), 'longer and longer');
  await writeFile(store.path(lost.digest), 'LOST');

  const states = async (options: Parameters<typeof checkContent>[1]) =>
    new Map(
      (await Array.fromAsync(checkContent(store, options))).map(({ digest, state }) => [digest, state]),
    );
  const found = await states({});
  expect(found.get(whole.digest)).toBe('ok');
  for (const { digest } of [flipped, shorter, longer, lost]) expect(found.get(digest)).toBe('damaged');

  const describe = (digest: string) => blobs.find((blob) => blob.digest === digest);
  const mended = await states({ repairFrom: [empty, origin], describe });
  for (const { digest } of [flipped, shorter, longer]) expect(mended.get(digest)).toBe('repaired');
  expect(mended.get(lost.digest)).toBe('removed');
  expect(await store.has(lost)).toBe(false);
  expect([...(await states({})).values()]).toEqual(['ok', 'ok', 'ok', 'ok']);
});
