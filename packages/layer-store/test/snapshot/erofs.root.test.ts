/** Snapshots as EROFS images, on the real kernel. Needs root, and Linux 6.12. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs, mountTable } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { openErofsSnapshotter, openLayerStore, type ErofsSnapshotter } from '../../src/index.ts';
import { snapshotterSuite, TarBuilder } from '../../src/testing/index.ts';
import { pushLayer } from '../images.ts';
import { runMounted } from '../mounted.ts';
import { mounter, mountsErofs } from '../mounter.ts';

const able = mountsErofs();
if (!able)
  process.stderr.write('snapshots as EROFS images are not tested: needs root and Linux 6.12 with EROFS\n');

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tare-erofs-'));
});
afterEach(() => {
  expect(mounts()).toEqual([]);
  rmSync(base, { recursive: true, force: true });
});

const open = (): Promise<ErofsSnapshotter> =>
  openErofsSnapshotter(join(base, 'snapshots'), { fs: layerFs, mounter });
const mounts = () => mountTable().filter(({ target }) => target.startsWith(base));

if (able) snapshotterSuite({ describe, it }, 'EROFS', open, { run: runMounted });

describe.skipIf(!able)('an image of a layer', () => {
  async function unpacked(): Promise<{ top: string; image: string }> {
    await using store = await openLayerStore({ root: base, fs: layerFs, snapshots: await open() });
    const layers = [
      new TarBuilder().directory('d').file('d/f', 'content'),
      new TarBuilder().file('d/g', 'more'),
    ];
    const top = await store.unpack(await Promise.all(layers.map((l) => pushLayer(store.content, l))));
    const image = readdirSync(join(base, 'snapshots/s')).map((id) =>
      join(base, 'snapshots/s', id, 'layer.erofs'),
    )[0]!;
    return { top, image };
  }

  test('is one file, read-only also for root, and still there for a container when the store is closed', async () => {
    const { top } = await unpacked();
    for (const id of readdirSync(join(base, 'snapshots/s'))) {
      expect(readdirSync(join(base, 'snapshots/s', id)).sort()).toEqual(['d', 'layer.erofs']);
      expect(readdirSync(join(base, 'snapshots/s', id, 'd'))).toEqual([]);
    }
    await using snapshots = await open();
    const view = await snapshots.prepare('c', top);
    expect(mounts().map(({ type }) => type)).toEqual(['erofs', 'erofs']);
    const lower = /lowerdir=([^:]+)/.exec(view[0]!.options.join())![1]!;
    expect(() => openSync(join(lower, 'd/g'), 'w')).toThrow(/EROFS/);
    expect(await runMounted(view, 'cat d/f d/g; echo new > d/f; cat d/f')).toBe('contentmorenew\n');
  });

  test('that was changed on disk is not mounted', async () => {
    const { top, image } = await unpacked();
    chmodSync(image, 0o600);
    const fd = openSync(image, 'r+');
    writeSync(fd, Buffer.from('!'), 0, 1, 5000);
    closeSync(fd);
    await using snapshots = await open();
    await expect(snapshots.view('v', top)).rejects.toMatchObject({ code: 'CORRUPT_STORE' });
    expect(await snapshots.stat('v')).toBeUndefined();
  });

  test('is taken over by the next process when one was killed that had it mounted', async () => {
    const { top } = await unpacked();
    const program = `
      const { openErofsSnapshotter } = await import(${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)});
      const { layerFs } = await import('@tare/runtime-native/syscalls');
      const { mounter } = await import(${JSON.stringify(new URL('../mounter.ts', import.meta.url).href)});
      const snapshots = await openErofsSnapshotter(${JSON.stringify(join(base, 'snapshots'))}, { fs: layerFs, mounter });
      await snapshots.prepare('c', ${JSON.stringify(top)});
      console.log('ready');
      setInterval(() => {}, 1e9);`;
    const child = spawn(
      process.execPath,
      ['--conditions=@tare/source', '--input-type=module', '-e', program],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        cwd: join(import.meta.dirname, '../..'),
      },
    );
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(mounts()).toHaveLength(2);
    await using snapshots = await open();
    expect(mounts()).toEqual([]);
    expect(await runMounted(await snapshots.mounts('c'), 'cat d/f')).toBe('content');
    await snapshots.remove('c');
    await snapshots.remove(top);
    expect(mounts()).toHaveLength(1);
  });
});
