/** A container's file system on an image of 50 layers: prepared, mounted, unmounted, removed. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openOverlaySnapshotter } from '@tare/layer-store';
import { layerFs, mountAt, unmount } from '@tare/runtime-native';
import type { Bench, Scenario } from '../scenario.ts';

const LAYERS = [1, 50, 500];

export const scenario: Scenario = {
  title: 'A snapshot of many layers',
  async run(bench: Bench) {
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    const snapshots = bench.stack.use(await openOverlaySnapshotter(join(folder, 's'), { fs: layerFs }));
    let top: string | undefined;
    for (let i = 1; i <= LAYERS.at(-1)!; i++) {
      await snapshots.prepare('key', top);
      top = `layer ${i}`;
      await snapshots.commit(top, 'key');
    }
    const target = join(folder, 'mnt');
    mkdirSync(target);
    for (const count of LAYERS) {
      const contestants = [
        {
          name: 'prepare and mount: layer-store and runtime-native',
          async once() {
            const began = performance.now();
            for (const mount of await snapshots.prepare('container', `layer ${count}`))
              mountAt(mount, target);
            const took = performance.now() - began;
            unmount(target);
            await snapshots.remove('container');
            return took;
          },
        },
      ];
      // what mount(2) takes by names of this length
      if (count <= 50) {
        const [mount] = await snapshots.prepare('other', `layer ${count}`);
        contestants.push({
          name: 'only mount: mount(8)',
          async once() {
            const { type, source, options } = mount!;
            const began = performance.now();
            execFileSync('mount', ['-t', type, '-o', options.join(), source, target]);
            const took = performance.now() - began;
            unmount(target);
            return took;
          },
        });
      }
      await bench.compare(`${count} layers`, contestants);
      if (count <= 50) await snapshots.remove('other');
    }
  },
};
