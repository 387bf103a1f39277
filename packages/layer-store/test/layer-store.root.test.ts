import { mkdtemp, rm, readdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { expect, test } from 'vitest';
import { openLayerStore } from '../src/index.ts';
import { describeBlob, sha256, TarBuilder } from '../src/testing/index.ts';

test('smoke', async () => {
  const root = await mkdtemp(join(tmpdir(), 'tare-layers-'));
  try {
    await using store = await openLayerStore({ root, fs: layerFs });
    const layers = [];
    for (const tar of [
      new TarBuilder().directory('etc/').file('etc/a', 'one').build(),
      new TarBuilder().file('etc/b', 'two').file('etc/.wh.a').build(),
    ]) {
      const blob = gzipSync(tar);
      const descriptor = describeBlob(blob, 'application/vnd.oci.image.layer.v1.tar+gzip');
      await store.content.push(
        descriptor,
        (async function* () {
          yield blob;
        })(),
      );
      layers.push({ descriptor, diffId: sha256(tar) });
    }
    const top = await store.unpack(layers);
    console.log(await store.snapshots.prepare('c', top), await store.snapshots.usage(top));
    console.log(await readdir(root, { recursive: true }));
    expect(1).toBe(1);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
