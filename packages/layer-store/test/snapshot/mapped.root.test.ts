/** Snapshots with other owners than on disk, on the real kernel. Needs root. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createUserNamespace, removeUserNamespace } from '@tare/runtime-native';
import { layerFs, mount, unmount } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  openCopySnapshotter,
  openErofsSnapshotter,
  openLayerStore,
  openOverlaySnapshotter,
} from '../../src/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { isRoot, needsRoot } from '../apply/unpack.ts';
import { pushLayer } from '../images.ts';
import { mounter, mountsErofs } from '../mounter.ts';

let base: string;
const at = (...parts: string[]): string => join(base, ...parts);
beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), 'tare-mapped-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** Which file systems can show other owners depends on the kernel; of those for temporary files a tmpfs came last. */
function whyNot(): string | undefined {
  if (!isRoot) return needsRoot;
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const TMPFS_MAGIC = 0x01021994;
  const late = statfsSync(tmpdir()).type === TMPFS_MAGIC ? 3 : 0;
  return major > 6 || (major === 6 && minor >= late) ? undefined : `needs Linux 6.${late}`;
}
const lacks = whyNot();

const map = (hostID: number) => [{ containerID: 0, hostID, size: 65_536 }];

describe.skipIf(lacks)(`snapshots in a user namespace${lacks ? ` (skipped: ${lacks})` : ''}`, () => {
  test.each([
    ['overlay', openOverlaySnapshotter, true],
    ['copy', openCopySnapshotter, true],
    ['EROFS', (root: string) => openErofsSnapshotter(root, { fs: layerFs, mounter }), mountsErofs()],
  ] as const)('%s: one image is shown with the owners of any map, unchanged', async (_, open, able) => {
    if (!able) return void process.stderr.write('mapped EROFS images are not tested: needs Linux 6.12\n');
    const snapshots = await open(at('snapshots'), { fs: layerFs });
    await using store = await openLayerStore({ root: base, fs: layerFs, snapshots });
    const layers = [
      new TarBuilder().directory('d').file('d/f', 'content', { uid: 7, gid: 8 }),
      new TarBuilder().file('d/g', 'more', { uid: 1000, gid: 0, mode: 0o4755 }),
    ];
    const top = await store.unpack(await Promise.all(layers.map((l) => pushLayer(store.content, l))));
    await store.snapshots.view('view', top);
    await store.snapshots.prepare('active', top);
    mkdirSync(at('target'));
    for (const shift of [100_000, 300_000]) {
      const userNamespace = at('user');
      await createUserNamespace(userNamespace, { uidMappings: map(shift), gidMappings: map(shift + 1) });
      try {
        for (const [key, readOnly] of [
          ['view', false],
          ['active', true],
        ] as const) {
          mount(await store.snapshots.mounts(key, { readOnly, userNamespace }), at('target'));
          try {
            expect(readFileSync(at('target/d/f'), 'utf8')).toBe('content');
            expect(statSync(at('target/d/f'))).toMatchObject({ uid: shift + 7, gid: shift + 9 });
            expect(statSync(at('target/d/g'))).toMatchObject({
              uid: shift + 1000,
              gid: shift + 1,
              mode: 0o104755,
            });
            expect(statSync(at('target/d'))).toMatchObject({ uid: shift, gid: shift + 1 });
            expect(() => writeFileSync(at('target/d/f'), '')).toThrow('EROFS');
          } finally {
            unmount(at('target'));
          }
        }
        await expect(store.snapshots.mounts('active', { userNamespace })).rejects.toMatchObject({
          code: 'INVALID_ARGUMENT',
        });
      } finally {
        await removeUserNamespace(userNamespace);
      }
    }
    mount(await store.snapshots.mounts('view'), at('target'));
    expect(statSync(at('target/d/f'))).toMatchObject({ uid: 7, gid: 8 });
    unmount(at('target'));
    await store.snapshots.remove('view');
    await store.snapshots.remove('active');
  });
});
