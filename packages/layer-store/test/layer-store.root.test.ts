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
  TarReader,
  type LayerFs,
  type LayerStore,
  type UnpackProgress,
} from '../src/index.ts';
import { sha256, TarBuilder } from '../src/testing/index.ts';
import { isRoot } from './apply/unpack.ts';
import { pushBlob, pushImage, pushLayer } from './images.ts';
import { runMounted } from './mounted.ts';

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
  };
  return { fs, count: () => made };
}

/** Unpacks an image made of these layers and looks at it. */
async function look(layers: TarBuilder[], script: string): Promise<string> {
  await using store = await open();
  const pushed = [];
  for (const layer of layers) pushed.push(await pushLayer(store.content, layer));
  const top = await store.unpack(pushed);
  return runMounted(await store.snapshots.prepare('container', top), script);
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

  test('a whiteout hides a directory, and a later layer makes it anew without what it held', async () => {
    const output = await look(
      [
        new TarBuilder().directory('a').file('a/old').directory('b').file('b/old'),
        new TarBuilder().file('.wh.a').file('.wh.b'),
        new TarBuilder().directory('a').file('a/new'),
      ],
      'find . -mindepth 1 | sort | tr "\\n" " "',
    );
    expect(output).toBe('./a ./a/new ');
  });

  test('parents that a layer does not list keep the mode, owner and times they have below', async () => {
    const below = { mode: 0o1777, uid: 7, gid: 8, mtimeNs: 1_000_000_000_000_000_001n };
    const output = await look(
      [
        new TarBuilder()
          .directory('./', { mode: 0o711, uid: 3 })
          .directory('tmp', below)
          .directory('tmp/in', { mode: 0o700 }),
        new TarBuilder().file('tmp/in/file').file('fresh/dir/file'),
      ],
      "stat -c '%n %a %u:%g %.9Y' . tmp tmp/in fresh fresh/dir",
    );
    expect(output.split('\n')).toEqual([
      '. 711 3:0 0.000000000',
      'tmp 1777 7:8 1000000000.000000001',
      'tmp/in 700 0:0 0.000000000',
      'fresh 755 0:0 0.000000000',
      'fresh/dir 755 0:0 0.000000000',
      '',
    ]);
  });

  test('a parent that is a link below leads there, as if the layer had been unpacked onto the mounted image', async () => {
    const output = await look(
      [
        new TarBuilder()
          .directory('usr')
          .directory('usr/lib', { mode: 0o750 })
          .directory('usr/lib/sub', { mode: 0o700 })
          .file('usr/lib/old', 'old')
          .file('usr/lib/gone')
          .symlink('lib', 'usr/lib')
          .symlink('abs', '/usr/lib')
          .symlink('up', '../../../usr/lib/sub'),
        new TarBuilder()
          .file('lib/new', 'new')
          .file('lib/sub/deep', 'deep')
          .file('lib/.wh.gone')
          .file('abs/other', 'other')
          .file('usr/lib/third', 'third')
          .file('up/x/y', 'far'),
      ],
      "ls -l | awk '{print $9,$10,$11}' | tr '\\n' ' '; cd usr/lib; stat -c %a . sub | tr '\\n' ' '; find . -type f | sort | tr '\\n' ' '; cat new sub/deep other third sub/x/y",
    );
    expect(output).toBe(
      '   abs -> /usr/lib lib -> usr/lib up -> ../../../usr/lib/sub usr   ' +
        '750 700 ./new ./old ./other ./sub/deep ./sub/x/y ./third newdeepotherthirdfar',
    );
  });

  test('a hard link to a file that only a layer below has copies it up, as link(2) on the mounted image does', async () => {
    const output = await look(
      [
        new TarBuilder()
          .directory('usr')
          .directory('usr/lib', { mode: 0o751, uid: 5 })
          .file('usr/lib/file', 'content', {
            mode: 0o4755,
            uid: 3,
            gid: 4,
            mtimeNs: 1_000_000_000_000_000_001n,
          })
          .symlink('usr/lib/link', 'file')
          .symlink('lib', 'usr/lib')
          .file('replaced', 'old'),
        new TarBuilder()
          .hardlink('again', 'lib/file')
          .hardlink('opt/once/more', 'again')
          .hardlink('soft', 'usr/lib/link')
          .file('dropped', 'x')
          .hardlink('dropped', 'lib/file')
          .file('dropped', 'dropped')
          .file('taken', 'x')
          .hardlink('taken', 'replaced'),
      ],
      `stat -c '%n %a %u:%g %.9Y %h' again; cat opt/once/more dropped taken; readlink soft; stat -c '%n %a %u' usr/lib
       [ again -ef usr/lib/file ] && [ again -ef opt/once/more ] && [ taken -ef replaced ] && echo same`,
    );
    expect(output.trim().split('\n')).toEqual([
      'again 4755 3:4 1000000000.000000001 3',
      'contentdroppedoldfile',
      'usr/lib 751 5',
      'same',
    ]);
  });

  test('a copied-up file keeps its capabilities, and counts as the layer’s', async () => {
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    await using store = await open();
    const layers = [
      new TarBuilder().file('f', 'content', { xattrs: new Map([['security.capability', capability]]) }),
      new TarBuilder().hardlink('l', 'f'),
    ];
    const top = await store.unpack(await Promise.all(layers.map((l) => pushLayer(store.content, l))));
    expect(await store.snapshots.usage(top)).toEqual({ sizeBytes: 7, inodes: 2 });
    const seen: [string, string][] = [];
    const reader = new TarReader({
      entry: ({ name, xattrs }) =>
        seen.push([name, Buffer.from(xattrs.get('security.capability') ?? '').toString('hex')]),
      data: () => undefined,
      entryEnd: () => undefined,
    });
    for await (const chunk of store.snapshots.diff(top)) reader.write(chunk);
    expect(seen).toEqual([
      ['f', capability.toString('hex')],
      ['l', ''],
    ]);
  });

  test('a hard link to what no layer has, has removed, or has as a directory is refused', async () => {
    await using store = await open();
    const base = await pushLayer(
      store.content,
      new TarBuilder()
        .file('f')
        .directory('d')
        .file('gone')
        .symlink('out', '/etc')
        .symlink('up', '../../../../../../../../etc')
        .symlink('round', 'round'),
    );
    for (const layer of [
      new TarBuilder().hardlink('l', 'nothing'),
      new TarBuilder().hardlink('l', 'd'),
      new TarBuilder().hardlink('l', 'f/below'),
      new TarBuilder().hardlink('l', 'out/passwd'),
      new TarBuilder().hardlink('l', 'up/passwd'),
      new TarBuilder().hardlink('l', 'round/passwd'),
      new TarBuilder().file('.wh.gone').hardlink('l', 'gone'),
      new TarBuilder().directory('d').file('d/.wh..wh..opq').hardlink('l', 'd/f'),
    ]) {
      await expect(store.unpack([base, await pushLayer(store.content, layer)])).rejects.toMatchObject({
        code: 'INVALID_TAR',
      });
    }
    await expect(
      store.unpack([await pushLayer(store.content, new TarBuilder().hardlink('l', 'f'))]),
    ).rejects.toMatchObject({ code: 'INVALID_TAR' });
    expect(inSnapshots('t')).toEqual([]);
  });

  test('owners are shifted for a user namespace, and shifted back in the layers that come of it', async () => {
    const idMap = {
      uids: [
        { containerID: 0, hostID: 100_000, size: 1000 },
        { containerID: 65_534, hostID: 165_534, size: 1 },
      ],
      gids: [{ containerID: 0, hostID: 200_000, size: 1000 }],
    };
    await using store = await openLayerStore({ root, fs: layerFs, policy: { idMap } });
    const layers = [
      new TarBuilder()
        .directory('home', { uid: 999, gid: 999 })
        .file('home/f', 'x', { uid: 65_534, gid: 1, mode: 0o4755 })
        .symlink('l', 'home', { uid: 2, gid: 3 }),
      new TarBuilder().file('home/implied/g').hardlink('again', 'home/f'),
    ];
    const top = await store.unpack(await Promise.all(layers.map((l) => pushLayer(store.content, l))));
    const mounts = await store.snapshots.prepare('c', top);
    const look = 'stat -c "%n %u:%g %a" . home home/f home/implied home/implied/g l again';
    expect(await runMounted(mounts, `${look}; touch new; chown 100005:200006 new`)).toBe(
      [
        '. 100000:200000 755',
        'home 100999:200999 755',
        'home/f 165534:200001 4755',
        'home/implied 100000:200000 755',
        'home/implied/g 100000:200000 644',
        'l 100002:200003 777',
        'again 165534:200001 4755',
        '',
      ].join('\n'),
    );
    const owners: string[] = [];
    const reader = new TarReader({
      entry: ({ name, uid, gid }) => owners.push(`${name} ${uid}:${gid}`),
      data: () => undefined,
      entryEnd: () => undefined,
    });
    for await (const chunk of store.snapshots.diff('c')) reader.write(chunk);
    expect(owners).toEqual(['new 5:6']);
    await runMounted(mounts, 'touch stray');
    await expect(Array.fromAsync(store.snapshots.diff('c'))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const outside = await pushLayer(store.content, new TarBuilder().file('f', '', { uid: 5_000 }));
    await expect(store.unpack([outside])).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  test('a directory that a layer lists replaces a link below', async () => {
    const output = await look(
      [
        new TarBuilder().directory('usr/lib').file('usr/lib/old').symlink('lib', 'usr/lib'),
        new TarBuilder().directory('lib').file('lib/new'),
      ],
      'find lib usr -type f | sort | tr "\\n" " "',
    );
    expect(output).toBe('lib/new usr/lib/old ');
  });

  test('links below that go round in a circle are an error, not a loop', async () => {
    await expect(
      look([new TarBuilder().symlink('a', 'b').symlink('b', 'a'), new TarBuilder().file('a/file')], 'true'),
    ).rejects.toMatchObject({ code: 'INVALID_TAR' });
  });

  test('a link below cannot lead a layer out', async () => {
    const output = await look(
      [
        new TarBuilder().symlink('evil', '../../../../../../../../etc'),
        new TarBuilder().file('evil/tare-escaped'),
      ],
      'find . -type f',
    );
    expect(output).toBe('./etc/tare-escaped\n');
    expect(readdirSync('/etc')).not.toContain('tare-escaped');
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
      const fs = { ...layerFs, createFile(...file) {
        if (++made === 1000) process.kill(process.pid, 'SIGKILL');
        return layerFs.createFile(...file);
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
