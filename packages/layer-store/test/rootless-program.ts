/** Unpacks an image and mounts it as whoever runs it, in a user and mount namespace: `rootless-program.ts <root>`. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { layerFs, mountAt } from '@tare/runtime-native/syscalls';
import { openLayerStore } from '../src/index.ts';
import { TarBuilder } from '../src/testing/index.ts';
import { pushLayer } from './images.ts';

const root = process.argv[2]!;
await using store = await openLayerStore({
  root: join(root, 'store'),
  fs: layerFs,
  policy: { overlayXattrs: 'user', unsupported: 'skip' },
});
const layers = [
  new TarBuilder().file('gone', 'x').directory('dir').file('dir/hidden', 'x').file('kept', 'kept'),
  new TarBuilder()
    .file('.wh.gone')
    .directory('dir')
    .file('dir/.wh..wh..opq')
    .file('dir/new', 'new')
    .hardlink('linked', 'kept')
    .entry('character-device', 'null', { devMajor: 1, devMinor: 3 }),
];
const top = await store.unpack(await Promise.all(layers.map((layer) => pushLayer(store.content, layer))));
const target = join(root, 'mnt');
mkdirSync(target);
for (const mount of await store.snapshots.prepare('container', top)) mountAt(mount, target);
rmSync(join(target, 'kept'));
rmSync(join(target, 'dir'), { recursive: true });
mkdirSync(join(target, 'dir'));
writeFileSync(join(target, 'dir/again'), 'x');
const changes = await Array.fromAsync(store.snapshots.changes('container'));
process.stdout.write(
  JSON.stringify({
    names: readdirSync(target).sort(),
    dir: readdirSync(join(target, 'dir')),
    linked: readFileSync(join(target, 'linked'), 'utf8'),
    changes: changes.map(({ kind, path }) => `${kind} ${path}`),
  }),
);
