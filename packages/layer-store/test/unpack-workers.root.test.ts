/** Unpacking on threads: the same layers, errors and cancellation as on the calling thread. Needs root. */
import { chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chainIds } from '@tare/image-spec';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openFileContent, openLayerStore, type LayerStore } from '../src/index.ts';
import { TarBuilder } from '../src/testing/index.ts';
import { isRoot } from './apply/unpack.ts';
import { pushLayer } from './images.ts';
import { runMounted } from './mounted.ts';

if (!isRoot) process.stderr.write('unpacking on threads is not tested: needs root to make layers\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-threads-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = (count?: number): Promise<LayerStore> =>
  openLayerStore({
    root,
    fs: layerFs,
    workers: { program: new URL('./unpack.worker.ts', import.meta.url), ...(count && { count }) },
  });
const staged = (): string[] => readdirSync(join(root, 'snapshots', 't'));

describe.skipIf(!isRoot)('on threads', () => {
  test('layers come out as they do on the calling thread, with progress, in any number', async () => {
    const layers = Array.from({ length: 6 }, (_, i) =>
      new TarBuilder()
        .directory('d', { mode: 0o1751, uid: 3, gid: 4, mtimeNs: 1_234_567_891n })
        .file(`d/f${i}`, Buffer.alloc(3_000_000, i), { mode: 0o4755, uid: i })
        .file('same', `${i}`)
        .build(),
    );
    const seen = new Map<string, number>();
    await using store = await open(2);
    const pushed = await Promise.all(layers.map((layer) => pushLayer(store.content, layer)));
    const top = await store.unpack(pushed, {
      onProgress: ({ digest, current }) => seen.set(digest, current),
    });
    expect(seen.size).toBe(6);
    const out = await runMounted(
      await store.snapshots.view('v', top),
      'cat same; stat -c "%a %u %g %Y" d; stat -c "%a %u %s" d/f3',
    );
    expect(out).toBe('51751 3 4 1\n4755 3 3000000\n');
  });

  test('errors keep their code, the member and the cause', async () => {
    await using store = await open();
    const unsafe = await pushLayer(store.content, new TarBuilder().file('../../out'));
    await expect(store.unpack([unsafe])).rejects.toMatchObject({
      name: 'LayerStoreError',
      code: 'UNSAFE_ENTRY',
      entry: '../../out',
    });
    const long = await pushLayer(store.content, new TarBuilder().file('x'.repeat(300)));
    await expect(store.unpack([long])).rejects.toMatchObject({
      code: 'IO_ERROR',
      cause: { code: 'ENAMETOOLONG' },
    });
    const good = await pushLayer(store.content, new TarBuilder().file('good'));
    await expect(store.unpack([{ ...good, diffId: unsafe.diffId }])).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(staged()).toEqual([]);
    await store.unpack([good]);
  });

  test('a damaged or missing blob is called that', async () => {
    await using store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('f', 'content'));
    const path = (await openFileContent(join(root, 'content'))).path(layer.descriptor.digest);
    const bytes = readFileSync(path);
    bytes[20]! ^= 1;
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    await expect(store.unpack([layer])).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    rmSync(path);
    await expect(store.unpack([layer])).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('an abort stops the thread before the call ends, and the thread goes on to the next', async () => {
    await using store = await open(1);
    const large = await pushLayer(
      store.content,
      Array.from({ length: 40 }, (_, i) => i)
        .reduce((tar, i) => tar.file(`f${i}`, Buffer.alloc(1_000_000)), new TarBuilder())
        .build(),
    );
    const controller = new AbortController();
    const reason = new Error('user pressed ^C');
    const progress = Promise.withResolvers<void>();
    const unpacking = store.unpack([large], {
      signal: controller.signal,
      onProgress: () => progress.resolve(),
    });
    controller.abort(reason);
    await expect(unpacking).rejects.toBe(reason);
    expect(staged()).toEqual([]);
    await store.unpack([await pushLayer(store.content, new TarBuilder().file('next'))]);
  });

  test('a thread that dies fails its layer alone, and another takes its place', async () => {
    await using store = await open(1);
    const deadly = await pushLayer(store.content, new TarBuilder().symlink('l', 'die!'));
    const good = await pushLayer(store.content, new TarBuilder().file('good'));
    const [first, second] = await Promise.allSettled([store.unpack([deadly]), store.unpack([good])]);
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'IO_ERROR' } });
    expect(second).toMatchObject({ status: 'fulfilled' });
    expect(staged()).toEqual([]);
    const [chain] = await chainIds([good.diffId]);
    expect(await store.snapshots.stat(chain!)).toBeDefined();
    expect(lstatSync(root).isDirectory()).toBe(true);
  });
});
