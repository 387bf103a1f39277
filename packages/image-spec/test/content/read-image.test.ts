import { expect, test } from 'vitest';
import { MemoryContent, readImage, type ContentSource } from '../../src/content/index.ts';
import { MEDIA_TYPES, chainIds, parsePlatform, type Descriptor } from '../../src/index.ts';
import { put, putImage, putIndex } from '../image.ts';

const AMD64 = parsePlatform('linux/amd64');
const ARM64 = parsePlatform('linux/arm64');

test('reads an image with its documents as they are, and names its layers', async () => {
  const store = new MemoryContent();
  const root = await putImage(store, 'app');
  const image = await readImage(store, root, AMD64);
  expect(image.descriptor).toEqual(root);
  expect(image.config.config?.Cmd).toEqual(['app']);
  expect(JSON.parse(new TextDecoder().decode(image.manifestBytes))).toEqual(image.manifest);
  expect(new TextDecoder().decode(image.configBytes)).toContain('"Cmd":["app"]');
  const diffIds = image.config.rootfs.diff_ids;
  expect(image.layers.map(({ descriptor, diffId }) => [descriptor, diffId])).toEqual(
    image.manifest.layers.map((descriptor, i) => [descriptor, diffIds[i]]),
  );
  expect(image.layers.map(({ chainId }) => chainId)).toEqual(await chainIds(diffIds));
});

test('takes of an index, and of an index in an index, the image of the platform', async () => {
  const store = new MemoryContent();
  const index = await putIndex(store, [AMD64, ARM64]);
  const image = await readImage(store, index, ARM64);
  expect(image.config.config?.Cmd).toEqual(['linux/arm64']);
  const outer = await put(store, MEDIA_TYPES.ociIndex, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: [index],
  });
  expect((await readImage(store, outer, ARM64)).descriptor).toEqual(image.descriptor);
  await expect(readImage(store, index, parsePlatform('linux/s390x'))).rejects.toMatchObject({
    code: 'NO_MATCHING_PLATFORM',
  });
});

test('reads no layers, and stops when the caller does', async () => {
  const store = new MemoryContent();
  const root = await putImage(store, 'app');
  const asked: string[] = [];
  const source: ContentSource = {
    fetch: (what: Descriptor, options) => (asked.push(what.mediaType), store.fetch(what, options)),
  };
  await readImage(source, root, AMD64);
  expect(asked).toEqual([MEDIA_TYPES.ociManifest, MEDIA_TYPES.ociConfig]);
  const signal = AbortSignal.abort(new Error('enough'));
  await expect(readImage(store, root, AMD64, { signal })).rejects.toThrow('enough');
});

test('gives up on indexes without end', async () => {
  const mediaType = MEDIA_TYPES.ociIndex;
  const store = new MemoryContent();
  let root = await putImage(store, 'app');
  for (let depth = 0; depth < 9; depth++)
    root = await put(store, mediaType, { schemaVersion: 2, mediaType, manifests: [root] });
  await expect(readImage(store, root, AMD64)).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
});
