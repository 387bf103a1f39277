/** `docker push` of the image of the pull, to a registry that has nothing of it; and `docker commit` of 5,000 changed files. */
import { mkdtemp, rm } from 'node:fs/promises';
import { mkdirSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bringUpLoopback } from '@tare/netdriver';
import { RegistryClient } from '@tare/registry-client';
import { COMPONENTS, componentPath, fetchComponents } from '../../test/lab/debian.ts';
import { startDebianRegistry } from '../../test/lab/registry.ts';
import { freshDisk } from '../disk.ts';
import { prepareImage, pushImages } from '../image.ts';
import { PEERS, startPeer } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { UsageTable } from '../usage-table.ts';
import { measure } from '../usage.ts';

/** Each takes a minute. */
const MAX_ROUNDS = 5;
const FILES = 5_000;
const FILE_BYTES = 12_000;

export const scenario: Scenario = {
  title: '`docker push` of that image, and `docker commit` of a change to it',
  async prepare() {
    await prepareImage();
    if (componentPath(COMPONENTS.registry) === undefined) await fetchComponents();
  },
  async run(bench: Bench) {
    await bringUpLoopback('/proc/self/ns/net');
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    const registry = bench.stack.use(await startDebianRegistry());
    await using client = new RegistryClient();
    await pushImages(client.repository(`${registry.host}/bench`));
    const image = `${registry.host}/bench:image`;
    const files = fill(join(folder, 'files'));

    const pushes = new UsageTable();
    const commits = new UsageTable();
    const absent = new Map<string, string>();
    const rounds = Math.min(bench.rounds, MAX_ROUNDS);
    // the first round warms the caches and is not counted
    for (let round = 0; round <= rounds; round++) {
      for (const name of PEERS) {
        await using stack = new AsyncDisposableStack();
        const empty = stack.use(await startDebianRegistry());
        const disk = join(folder, `${name}-${round}`);
        freshDisk(disk, stack);
        const peer = await startPeer(name, join(disk, 'data'), [registry.host, empty.host], stack);
        if ('reason' in peer) {
          absent.set(name, peer.reason);
          continue;
        }
        const { cli, env, daemon } = peer;
        const run = (...args: string[]) =>
          measure([...cli, ...args], { env, ...(daemon !== undefined && { daemon }) });
        const pushed = `${empty.host}/pushed:image`;
        await run('pull', '-q', image);
        await run('tag', image, pushed);
        const push = await run('push', '-q', pushed);
        await run('create', '--name', 'changed', image, '/bin/sh');
        await run('cp', files, 'changed:/srv');
        const commit = await run('commit', 'changed', 'committed');
        await run('rm', 'changed');
        if (round === 0) continue;
        const title = `${name} ${peer.version}, ${peer.client}`;
        pushes.add(title, push);
        commits.add(title, commit);
      }
      process.stderr.write(`\rpush: round ${round} of ${rounds}`);
    }
    process.stderr.write('\n');
    pushes.report(bench, `Push to an empty registry (${rounds} rounds)`);
    commits.report(bench, `Commit of a container with ${FILES} new files of ${FILE_BYTES / 1000} kB`);
    for (const [name, reason] of absent) bench.absent(name, reason);
    bench.note(
      `Medians. A daemon counts with the children that it waits for, its client does not; its peak of memory is that of all it did until then.`,
    );
  },
};

/** Files that compress like text. */
function fill(directory: string): string {
  for (let i = 0; i < FILES; i++) {
    const parent = join(directory, `directory-${i % 60}`);
    mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `file-${i}`), randomBytes(FILE_BYTES / 2).toString('hex'));
  }
  return directory;
}
