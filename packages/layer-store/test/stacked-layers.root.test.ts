/** Layers on each other: what the lower ones know decides what the upper ones mean. On the real kernel, needs root. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openLayerStore, TarReader, type LayerFs, type LayerStore } from '../src/index.ts';
import { TarBuilder } from '../src/testing/index.ts';
import { isRoot } from './apply/unpack.ts';
import { pushLayer } from './images.ts';
import { lookInto, runMounted } from './mounted.ts';

if (!isRoot) process.stderr.write('unpacking of images is not tested: needs root to make and mount layers\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-layers-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const open = (fs: LayerFs = layerFs): Promise<LayerStore> => openLayerStore({ root, fs });
const inSnapshots = (name: string): string[] => readdirSync(join(root, 'snapshots', name));

/** Unpacks an image made of these layers and looks at it. */
async function look(layers: TarBuilder[], script: string): Promise<string> {
  await using store = await open();
  return await lookInto(store, layers, script);
}

describe.skipIf(!isRoot)('layers on each other', () => {
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
});
