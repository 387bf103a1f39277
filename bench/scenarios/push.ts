/** `docker push` of the image of the pull, to a registry that has nothing of it; and `docker commit` of 5,000 changed files. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { mkdirSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDebianRegistry } from '../../test/lab/registry.ts';
import { freshDisk } from '../disk.ts';
import { prepareImages, serveImages } from '../image.ts';
import { PEERS, startPeer, type Peer } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { UsageTable } from '../usage-table.ts';
import { measure, type Usage } from '../usage.ts';

/** Each takes half a minute. */
const MAX_ROUNDS = 5;
const FILES = 5_000;
const FILE_BYTES = 12_000;

export const scenario: Scenario = {
  title: '`docker push` of that image, and `docker commit` of a change to it',
  prepare: prepareImages,
  async run(bench: Bench) {
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    const { host, image } = await serveImages(bench.stack);
    const files = fill(join(folder, 'files'));
    const rounds = Math.min(bench.rounds, MAX_ROUNDS);
    // a new one for every round: what a peer has pushed to a registry before, it mounts there
    const empty: string[] = [];
    while (empty.length <= rounds) empty.push(bench.stack.use(await startDebianRegistry()).host);

    const peers: Peer[] = [];
    const absent = new Map<string, string>();
    for (const name of PEERS) {
      const disk = join(folder, name);
      freshDisk(disk, bench.stack);
      const peer = await startPeer(name, join(disk, 'data'), [host, ...empty], bench.stack);
      if ('reason' in peer) absent.set(name, peer.reason);
      else {
        await use(peer, 'pull', '-q', image);
        peers.push(peer);
      }
    }

    const pushes = new UsageTable();
    const commits = new UsageTable();
    // the first round warms the caches and is not counted
    for (let round = 0; round <= rounds; round++) {
      for (const peer of peers) {
        const { name, version, client } = peer;
        const pushed = `${empty[round]}/${name}:image`;
        // nothing is removed: files that are made where others were are made slowly
        const container = `changed-${round}`;
        await use(peer, 'tag', image, pushed);
        const push = await use(peer, 'push', '-q', pushed);
        await use(peer, 'create', '--name', container, image, '/bin/sh');
        await use(peer, 'cp', files, `${container}:/srv`);
        const commit = await use(peer, 'commit', container, `committed-${round}`);
        if (round === 0) continue;
        const title = `${name} ${version}, ${client}`;
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
      `Medians. A daemon counts with the children that it waits for, its client does not; its peak of memory is that of all it did until then, the pull included.`,
    );
  },
};

/** Runs a command of a peer, with nothing of an earlier one still on its way to the disk. */
function use({ cli, env, daemon }: Peer, ...args: string[]): Promise<Usage> {
  execFileSync('sync');
  return measure([...cli, ...args], { env, daemon });
}

/** Files that compress like text. */
function fill(directory: string): string {
  for (let i = 0; i < FILES; i++) {
    const parent = join(directory, `directory-${i % 60}`);
    mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `file-${i}`), randomBytes(FILE_BYTES / 2).toString('hex'));
  }
  return directory;
}
