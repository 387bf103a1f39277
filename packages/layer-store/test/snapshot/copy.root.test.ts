/** Snapshots by copying, on the real kernel. Needs root. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import {
  openCopySnapshotter,
  openErofsSnapshotter,
  openLayerStore,
  TarReader,
  type CopySnapshotter,
} from '../../src/index.ts';
import { snapshotterSuite, TarBuilder } from '../../src/testing/index.ts';
import { isRoot } from '../apply/unpack.ts';
import { pushLayer } from '../images.ts';
import { mounter, mountsErofs } from '../mounter.ts';
import { runMounted } from '../mounted.ts';

if (!isRoot) process.stderr.write('snapshots by copying are not mounted: needs root\n');

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tare-copies-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const open = (): Promise<CopySnapshotter> => openCopySnapshotter(join(base, 'root'), { fs: layerFs });

snapshotterSuite({ describe, it }, 'copying', open, isRoot ? { run: runMounted } : undefined);

describe.skipIf(!isRoot)('a layer store on other snapshots', () => {
  test('shows of an image what one on overlay shows', async () => {
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    const layers = [
      new TarBuilder()
        .directory('etc', { mode: 0o751, uid: 3, mtimeNs: 5_000_000_007n })
        .file('etc/one', '1')
        .hardlink('etc/uno', 'etc/one')
        .directory('opt')
        .directory('opt/old')
        .file('opt/old/file')
        .directory('usr')
        .directory('usr/lib')
        .file('bin/su', 'x', {
          mode: 0o4755,
          gid: 42,
          xattrs: new Map([['security.capability', capability]]),
        })
        .symlink('lib', 'usr/lib')
        .entry('fifo', 'pipe')
        .entry('character-device', 'dev/null', { devMajor: 1, devMinor: 3, mode: 0o666 }),
      new TarBuilder()
        .file('etc/.wh.one')
        .directory('opt', { mode: 0o700 })
        .file('opt/.wh..wh..opq')
        .file('opt/new', 'new')
        .file('lib/implied', 'here')
        .hardlink('bin/again', 'bin/su'),
      new TarBuilder().file('opt', 'a file now').directory('pipe').file('pipe/in', 'x'),
    ];
    const seen: string[] = [];
    const openers = {
      overlay: undefined,
      copy: (root: string) => openCopySnapshotter(root, { fs: layerFs }),
      ...(mountsErofs() && { erofs: (root: string) => openErofsSnapshotter(root, { fs: layerFs, mounter }) }),
    };
    for (const [kind, openSnapshots] of Object.entries(openers)) {
      const root = join(base, kind);
      const snapshots = await openSnapshots?.(join(root, 'snapshots'));
      await using store = await openLayerStore({ root, fs: layerFs, ...(snapshots && { snapshots }) });
      const top = await store.unpack(await Promise.all(layers.map((l) => pushLayer(store.content, l))));
      seen.push(
        await runMounted(
          await store.snapshots.view('v', top),
          `find . | sort | while read f; do stat -c '%n %F %a %u:%g %t:%T %.9Y' "$f"; done | grep -v directory
           find . -type d | sort | while read f; do stat -c '%n %a %u:%g' "$f"; done; stat -c '%n %.9Y' etc pipe; find . -type f | sort | xargs md5sum`,
        ),
      );
      const capabilities: string[] = [];
      const reader = new TarReader({
        entry: ({ name, xattrs }) =>
          capabilities.push(
            `${name} ${Buffer.from(xattrs.get('security.capability') ?? []).toString('hex')}`,
          ),
        data: () => undefined,
        entryEnd: () => undefined,
      });
      for await (const chunk of store.snapshots.flatten(top)) reader.write(chunk);
      seen.push(capabilities.join('\n'));
    }
    expect(seen[1]).toContain(`bin/again ${capability.toString('hex')}`);
    for (let i = 2; i < seen.length; i++) expect(seen[i]).toBe(seen[i % 2]);
  });
});

const hasXfs = isRoot && readFileSync('/proc/filesystems', 'utf8').includes('xfs') && installed('mkfs.xfs');
if (!hasXfs) process.stderr.write('reflinks are not tested: needs root, XFS and mkfs.xfs\n');

test.skipIf(!hasXfs)('shares blocks where the file system can', async () => {
  const image = join(base, 'disk');
  execFileSync('truncate', ['-s', '400M', image]);
  execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
  const script = `mount -o loop ${image} ${base}/mnt`;
  execFileSync('mkdir', [join(base, 'mnt')]);
  execFileSync('sh', ['-c', script]);
  try {
    await using snapshots = await openCopySnapshotter(join(base, 'mnt/root'), { fs: layerFs });
    await runMounted(await snapshots.prepare('a', undefined), 'head -c 100000000 /dev/urandom > large');
    await snapshots.commit('one', 'a');
    for (let i = 0; i < 10; i++) await snapshots.prepare(`b${i}`, 'one');
    expect(statSync(join(base, 'mnt')).isDirectory()).toBe(true);
    const free = Number(execFileSync('stat', ['-f', '-c', '%a', join(base, 'mnt')]).toString());
    expect(free).toBeGreaterThan(40_000);
  } finally {
    execFileSync('umount', [join(base, 'mnt')]);
  }
});

function installed(program: string): boolean {
  return (process.env.PATH ?? '')
    .split(':')
    .some((folder) => statSync(join(folder, program), { throwIfNoEntry: false }));
}
