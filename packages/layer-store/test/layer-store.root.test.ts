/** From blobs to mounted images, on the real kernel. Needs root. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { chainIds } from '@tare/image-spec';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  collectGarbage,
  openLayerStore,
  type LayerFs,
  type LayerStore,
  type UnpackProgress,
} from '../src/index.ts';
import { sha256, TarBuilder } from '../src/testing/index.ts';
import { isRoot } from './apply/unpack.ts';
import { pushBlob, pushImage, pushLayer } from './images.ts';
import { lookInto } from './mounted.ts';

if (!isRoot) process.stderr.write('unpacking of images is not tested: needs root to make and mount layers\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-layers-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = (fs: LayerFs = layerFs): Promise<LayerStore> => openLayerStore({ root, fs });
const inSnapshots = (name: string): string[] => readdirSync(join(root, 'snapshots', name));

/** A file system that counts how often a file of this name is made. */
function counting(name: string): { fs: LayerFs; count: () => number } {
  let made = 0;
  const fs: LayerFs = {
    ...layerFs,
    openat2(dirfd, path, options) {
      if (path === name) made += 1;
      return layerFs.openat2(dirfd, path, options);
    },
    createFile(dirfd, path, content, attributes) {
      if (path === name) made += 1;
      layerFs.createFile(dirfd, path, content, attributes);
    },
    fileQueue() {
      const queue = layerFs.fileQueue();
      return {
        ...queue,
        add(dirfd, path, content, attributes) {
          if (path === name) made += 1;
          return queue.add(dirfd, path, content, attributes);
        },
      };
    },
  };
  return { fs, count: () => made };
}

/** Unpacks an image made of these layers and looks at it. */
async function look(layers: TarBuilder[], script: string): Promise<string> {
  await using store = await open();
  return await lookInto(store, layers, script);
}

describe.skipIf(!isRoot)('a layer store', () => {
  test('makes a mountable file system of an image', async () => {
    const output = await look(
      [
        new TarBuilder()
          .directory('etc', { mode: 0o755 })
          .file('etc/one', '1')
          .file('etc/two', '2')
          .directory('opt', { mode: 0o700 })
          .directory('opt/old')
          .file('opt/old/file')
          .file('bin/su', 'x', { mode: 0o4755, uid: 0, gid: 42 }),
        new TarBuilder()
          .file('etc/.wh.one')
          .file('etc/two', 'zwei')
          .directory('opt')
          .file('opt/.wh..wh..opq')
          .file('opt/new'),
        new TarBuilder().file('etc/three', '3').hardlink('etc/drei', 'etc/three'),
      ],
      'find . -mindepth 1 | sort | tr "\\n" " "; cat etc/two; stat -c " %a %g" bin/su; echo written > etc/new; cat etc/new',
    );
    expect(output).toBe(
      './bin ./bin/su ./etc ./etc/drei ./etc/three ./etc/two ./opt ./opt/new zwei 4755 42\nwritten\n',
    );
  });

  test('images that share layers unpack them once', async () => {
    const { fs, count } = counting('shared-file');
    await using store = await open(fs);
    const shared = await pushLayer(store.content, new TarBuilder().file('shared-file'));
    const one = await pushLayer(store.content, new TarBuilder().file('one'));
    const two = await pushLayer(store.content, new TarBuilder().file('two'));
    const progress: UnpackProgress[] = [];
    await Promise.all([store.unpack([shared, one]), store.unpack([shared, two])]);
    await store.unpack([shared, two], { onProgress: (event) => progress.push(event) });
    expect(count()).toBe(1);
    expect(inSnapshots('s')).toHaveLength(3);
    expect(progress.map(({ digest, phase }) => [digest, phase])).toEqual([
      [shared.descriptor.digest, 'exists'],
      [two.descriptor.digest, 'exists'],
    ]);
  });

  test('ten unpackings of one image at a time are one', async () => {
    const { fs, count } = counting('only-once');
    await using store = await open(fs);
    const layers = [
      await pushLayer(store.content, new TarBuilder().file('only-once', Buffer.alloc(100_000))),
      await pushLayer(store.content, new TarBuilder().file('x')),
    ];
    const tops = await Promise.all(Array.from({ length: 10 }, () => store.unpack(layers)));
    expect(new Set(tops)).toEqual(new Set([(await chainIds(layers.map(({ diffId }) => diffId)))[1]]));
    expect(count()).toBe(1);
    expect(inSnapshots('s')).toHaveLength(2);
    expect(inSnapshots('t')).toEqual([]);
  });

  test('tells how far it is in bytes of the blob, and ends with all of them', async () => {
    await using store = await open();
    const layer = await pushLayer(
      store.content,
      Buffer.concat([new TarBuilder().file('a', Buffer.alloc(500_000, 'x')).build()]),
    );
    const events: UnpackProgress[] = [];
    await store.unpack([layer], { onProgress: (event) => events.push(event) });
    expect(events.at(-1)).toEqual({
      digest: layer.descriptor.digest,
      phase: 'done',
      current: layer.descriptor.size,
      total: layer.descriptor.size,
    });
    expect(events[0]!.phase).toBe('extract');
  });

  test('a caller that gives up does not stop the others', async () => {
    await using store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('a', Buffer.alloc(8_000_000, 'x')));
    const controller = new AbortController();
    const first = store.unpack([layer], {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('changed my mind')),
    });
    const second = store.unpack([layer]);
    await expect(first).rejects.toThrow('changed my mind');
    const top = await second;
    expect((await store.snapshots.stat(top))?.kind).toBe('committed');
  });

  test('when the last caller gives up nothing is left', async () => {
    await using store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('a', Buffer.alloc(8_000_000, 'x')));
    const controller = new AbortController();
    await expect(
      store.unpack([layer], {
        signal: controller.signal,
        onProgress: () => controller.abort(new Error('changed my mind')),
      }),
    ).rejects.toThrow('changed my mind');
    expect(inSnapshots('t')).toEqual([]);
    expect(inSnapshots('s')).toEqual([]);
    await store.unpack([layer]);
  });

  test('a layer that is not what its diffID says is not there, nor are those above it', async () => {
    await using store = await open();
    const good = await pushLayer(store.content, new TarBuilder().file('good'));
    const forged = {
      ...(await pushLayer(store.content, new TarBuilder().file('b'))),
      diffId: sha256(Buffer.from('?')),
    };
    const above = await pushLayer(store.content, new TarBuilder().file('c'));
    await expect(store.unpack([good, forged, above])).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const kept = (await Array.fromAsync(store.snapshots.list())).map(({ name }) => name);
    expect(kept.every((name) => name === good.diffId)).toBe(true);
    expect(inSnapshots('t')).toEqual([]);
    expect(inSnapshots('s')).toHaveLength(kept.length);
  });

  test('nobody else reaches what is unpacked, setuid programs above all', async () => {
    await using store = await open();
    await store.unpack([await pushLayer(store.content, new TarBuilder().file('su', '', { mode: 0o4755 }))]);
    for (const name of ['', 'content', 'content/blobs/sha256', 'snapshots', 'snapshots/s', 'snapshots/m']) {
      expect(`${name} ${(statSync(join(root, name)).mode & 0o777).toString(8)}`).toBe(`${name} 700`);
    }
  });

  test('hostile layers are refused whole', async () => {
    await using store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('fine').file('../../escape'));
    await expect(store.unpack([layer])).rejects.toMatchObject({ code: 'UNSAFE_ENTRY' });
    expect([...inSnapshots('s'), ...inSnapshots('t'), ...inSnapshots('m')]).toEqual([]);
  });

  test('a missing blob is NOT_FOUND, an image without layers INVALID_ARGUMENT', async () => {
    await using store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('a'));
    await store.content.delete(layer.descriptor.digest);
    await expect(store.unpack([layer])).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(store.unpack([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('single layers can be started all at once, or one after the other', async () => {
    await using store = await open();
    const layers = [];
    for (const name of ['a', 'b', 'c'])
      layers.push(await pushLayer(store.content, new TarBuilder().file(name, name)));
    const chain = await chainIds(layers.map(({ diffId }) => diffId));
    const usages = await Promise.all(
      layers.map((layer, i) => store.unpackLayer({ ...layer, chainId: chain[i]! }, chain[i - 1])),
    );
    expect(usages).toEqual([1, 1, 1].map((sizeBytes) => ({ sizeBytes, inodes: 2 })));
    expect((await store.snapshots.stat(chain[2]!))?.parent).toBe(chain[1]);
    const other = await pushLayer(store.content, new TarBuilder().file('d'));
    await expect(
      store.unpackLayer(
        { ...other, chainId: sha256(Buffer.from('x')) },
        sha256(Buffer.from('no such parent')),
      ),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('kill -9 in the middle of unpacking leaves nothing visible, and the next one sweeps and succeeds', async () => {
    const tar = new TarBuilder();
    for (let i = 0; i < 3000; i++) tar.file(`file-${i}`, Buffer.alloc(5000, `${i} `));
    const archive = tar.build();
    const layer = {
      descriptor: { mediaType: '', digest: sha256(gzipSync(archive)), size: 0 },
      diffId: sha256(archive),
    };
    {
      await using store = await open();
      Object.assign(layer, await pushLayer(store.content, archive));
    }
    const program = `
      import { openLayerStore } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      import { layerFs } from '@tare/runtime-native/syscalls';
      let made = 0;
      const fs = { ...layerFs, fileQueue() {
        const queue = layerFs.fileQueue();
        return { ...queue, add(...file) {
          if (++made === 1000) process.kill(process.pid, 'SIGKILL');
          return queue.add(...file);
        } };
      } };
      const store = await openLayerStore({ root: ${JSON.stringify(root)}, fs });
      await store.unpack([${JSON.stringify(layer)}]);`;
    const child = spawn(
      process.execPath,
      ['--conditions=@tare/source', '--input-type=module', '-e', program],
      {
        stdio: 'inherit',
        cwd: join(import.meta.dirname, '..'),
      },
    );
    expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
    expect(inSnapshots('t')).toHaveLength(1);
    expect([...inSnapshots('s'), ...inSnapshots('m')]).toEqual([]);
    await using store = await open();
    expect(inSnapshots('t')).toEqual([]);
    const top = await store.unpack([layer]);
    expect(await store.snapshots.usage(top)).toEqual({ sizeBytes: 3000 * 5000, inodes: 3001 });
  });

  test('disposing cancels what is under way and cleans it up', async () => {
    const store = await open();
    const layer = await pushLayer(store.content, new TarBuilder().file('a', Buffer.alloc(8_000_000, 'x')));
    const started = Promise.withResolvers<void>();
    const work = store.unpack([layer], { onProgress: () => started.resolve() });
    const outcome = expect(work).rejects.toMatchObject({ code: 'CLOSED' });
    await started.promise;
    await store[Symbol.asyncDispose]();
    await outcome;
    expect(inSnapshots('t')).toEqual([]);
    await expect(store.unpack([layer])).rejects.toMatchObject({ code: 'CLOSED' });
  });

  test('garbage collection keeps what roots and containers need, and frees the rest', async () => {
    await using store = await open();
    const [base, one, two] = [
      await pushLayer(store.content, new TarBuilder().file('base')),
      await pushLayer(store.content, new TarBuilder().file('one')),
      await pushLayer(store.content, new TarBuilder().file('two')),
    ];
    const kept = await pushImage(store.content, [base, one]);
    const dropped = await pushImage(store.content, [base, two]);
    const orphan = await pushBlob(store.content, Buffer.from('orphan'), 'text/plain');
    const leased = await pushBlob(store.content, Buffer.from('leased'), 'text/plain');
    const keptTop = await store.unpack([base, one]);
    const droppedTop = await store.unpack([base, two]);
    await store.snapshots.prepare('container', droppedTop);
    const collect = (): ReturnType<typeof collectGarbage> =>
      collectGarbage({ ...store, roots: [kept.manifest], keepBlobs: [leased.digest] });
    // everything so far is older than this
    await new Promise((resolve) => setImmediate(resolve));
    while (Date.now() === Date.parse((await store.snapshots.stat(droppedTop))!.createdAt.toISOString()))
      continue;
    const first = await collect();
    expect(new Set(first.blobs)).toEqual(
      new Set([dropped.manifest.digest, dropped.config.digest, two.descriptor.digest, orphan.digest]),
    );
    expect(first.snapshots).toEqual([]);
    await store.snapshots.remove('container');
    expect((await collect()).snapshots).toEqual([droppedTop]);
    expect((await Array.fromAsync(store.snapshots.list())).map(({ name }) => name)).toEqual([
      base.diffId,
      keptTop,
    ]);
    expect(await store.content.has(leased)).toBe(true);
    expect(await collect()).toEqual({ blobs: [], blobBytes: 0, snapshots: [] });
  });
});
