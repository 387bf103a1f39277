/** `docker pull` of an image of 450 MB from Debian's docker-registry on loopback, into empty data folders. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freshDisk } from '../disk.ts';
import { prepareImages, serveImages } from '../image.ts';
import { PEERS, startPeer } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { UsageTable } from '../usage-table.ts';
import { measure } from '../usage.ts';

/** Each takes a minute. */
const MAX_ROUNDS = 5;

export const scenario: Scenario = {
  title: '`docker pull`: three layers, 150 MB compressed, 450 MB and 12,000 files unpacked',
  prepare: prepareImages,
  async run(bench: Bench) {
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    const { host, image, changed } = await serveImages(bench.stack);

    const cold = new UsageTable();
    const again = new UsageTable();
    const shared = new UsageTable();
    const absent = new Map<string, string>();
    const rounds = Math.min(bench.rounds, MAX_ROUNDS);
    // the first round warms the caches and is not counted
    for (let round = 0; round <= rounds; round++) {
      for (const name of PEERS) {
        await using stack = new AsyncDisposableStack();
        const disk = join(folder, `${name}-${round}`);
        freshDisk(disk, stack);
        const peer = await startPeer(name, join(disk, 'data'), [host], stack);
        if ('reason' in peer) {
          absent.set(name, peer.reason);
          continue;
        }
        const { cli, env, daemon } = peer;
        const pull = (reference: string) =>
          measure([...cli, 'pull', '-q', reference], { env, ...(daemon !== undefined && { daemon }) });
        const title = `${name} ${peer.version}, ${peer.client}`;
        const usages = [await pull(image), await pull(image), await pull(changed)];
        if (round === 0) continue;
        cold.add(title, usages[0]!);
        again.add(title, usages[1]!);
        shared.add(title, usages[2]!);
      }
      if (round > 0) {
        await using stack = new AsyncDisposableStack();
        const disk = join(folder, `skopeo-${round}`);
        freshDisk(disk, stack);
        const to = `dir:${join(disk, 'image')}`;
        const copy = ['skopeo', 'copy', '--quiet', '--src-tls-verify=false', `docker://${image}`, to];
        await measure(copy).then(
          (usage) => cold.add('skopeo copy: only downloads', usage),
          (error: Error) => void absent.set('skopeo', error.message.split('\n')[0]!),
        );
      }
      process.stderr.write(`\rpull: round ${round} of ${rounds}`);
    }
    process.stderr.write('\n');
    cold.report(bench, `Into an empty store (${rounds} rounds)`);
    again.report(bench, 'Again, nothing changed');
    shared.report(bench, 'Another image that shares all but its last layer, which is small');
    for (const [name, reason] of absent) bench.absent(name, reason);
    bench.note(
      `Medians. A daemon counts with the children that it waits for, its client does not. The registry is Debian's docker-registry. Every run has a new file system.`,
    );
  },
};
