/**
 * Builds: many files copied, nothing or one of them changed, stages beside each other. Through the stock CLI's own builder,
 * and through clients that do not send what has not changed: `docker buildx` and `tare build`.
 */
import { RegistryClient } from '@tare/registry-client';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPONENTS, componentPath } from '../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../test/lab/images.ts';
import { startPeers, type Peer } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';

const FILES = 5400;
const TOTAL_BYTES = 126_000_000;
const STAGES = 10;

export const scenario: Scenario = {
  title: '`docker build`',
  async run(bench: Bench) {
    const folder = mkdtempSync(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const { list, absent, image } = bench.stack.use(
      await startPeers(
        async (host) => {
          const busybox = componentPath(COMPONENTS.busybox);
          if (busybox === undefined) throw new Error('needs busybox-static: npm test fetches it');
          const repository = new RegistryClient().repository(`${host}/busybox`);
          await pushImage(repository, 'latest', { layers: [await busyboxLayer(busybox)] });
          return `${host}/busybox`;
        },
        { ownDisks: true },
      ),
    );
    const files = fill(join(folder, 'files'), `FROM ${image}\nCOPY . /files\n`);
    const stages = join(folder, 'stages');
    mkdirSync(stages);
    writeFileSync(join(stages, 'Dockerfile'), stagesOf(image));

    const contestants = (once: (peer: Peer) => void, peers = list) =>
      peers.map((peer) => ({
        name: `${peer.name} ${peer.version}, ${peer.client}`,
        once: () => once(peer),
      }));
    const own = list.filter(({ name }) => name === 'tare').map(ownClient);
    const buildx = buildxClients(list, folder);
    if (buildx.length === 0)
      bench.absent('docker buildx', `needs ${COMPONENTS.buildx.name}: npm test fetches it`);
    const withOwn = (once: (peer: Peer) => void) => contestants(once, [...list, ...own, ...buildx]);
    const rounds = Math.max(3, Math.round(bench.rounds / 5));
    const title = `COPY of ${TOTAL_BYTES / 1e6} MB in ${FILES} files`;
    await bench.compare(
      title,
      contestants((peer) => build(peer, files, '--no-cache')),
      { rounds },
    );
    await bench.compare(
      'The same again, nothing changed',
      withOwn((peer) => build(peer, files)),
    );
    await bench.compare(
      'The same again, one file changed',
      withOwn((peer) => {
        writeFileSync(join(files, 'directory-7', 'file-7'), randomBytes(1000));
        build(peer, files);
      }),
      { rounds },
    );
    await bench.compare(
      `${STAGES} stages that need nothing of each other, each a RUN that waits for 0.3 s`,
      contestants((peer) => build(peer, stages, '--no-cache')),
      { rounds },
    );
    for (const { name, reason } of absent) bench.absent(name, reason);
    bench.note('The base is a busybox image. podman builds with buildah.');
  },
};

/** The same engine, driven by its own command line. */
function ownClient(peer: Peer): Peer {
  const tare = join(import.meta.dirname, '../../node_modules/.bin/tare');
  return { ...peer, client: 'tare build', cli: [tare, ...peer.cli.slice(1)], env: process.env };
}

/** The engines that the stock CLI drives, through its plugin for BuildKit. */
function buildxClients(peers: readonly Peer[], folder: string): Peer[] {
  const plugin = componentPath(COMPONENTS.buildx);
  if (plugin === undefined) return [];
  const config = join(folder, 'config');
  mkdirSync(join(config, 'cli-plugins'), { recursive: true });
  symlinkSync(plugin, join(config, 'cli-plugins', 'docker-buildx'));
  const env = { ...process.env, DOCKER_CONFIG: config };
  return peers
    .filter(({ cli }) => cli[0] === 'docker')
    .map((peer) => ({ ...peer, client: 'docker buildx', cli: [...peer.cli, 'buildx'], env }));
}

function build({ name, cli, env }: Peer, directory: string, ...flags: string[]): void {
  // podman's own runtime refuses machines with both versions of cgroups
  const own = name === 'podman' ? ['--isolation', 'chroot'] : [];
  const [command, ...args] = [...cli, 'build', ...own, ...flags, '-t', 'built', directory];
  const result = spawnSync(command!, args, { encoding: 'utf8', env });
  if (result.status !== 0)
    throw new Error(`${name} failed: ${args.join(' ')}\n${result.stdout}${result.stderr}`);
}

/** Files that compress like text. */
function fill(directory: string, dockerfile: string): string {
  for (let i = 0; i < FILES; i += 1) {
    const parent = join(directory, `directory-${i % 60}`);
    mkdirSync(parent, { recursive: true });
    const bytes = Math.floor(TOTAL_BYTES / FILES);
    writeFileSync(join(parent, `file-${i}`), randomBytes(Math.floor(bytes / 2)).toString('hex'));
  }
  writeFileSync(join(directory, 'Dockerfile'), dockerfile);
  return directory;
}

function stagesOf(image: string): string {
  const stages = Array.from(
    { length: STAGES },
    (_, i) => `FROM ${image} AS stage${i}\nRUN sleep 0.3; echo ${i} > /out${i}\n`,
  );
  const copies = stages.map((_, i) => `COPY --from=stage${i} /out${i} /\n`);
  return [...stages, `FROM ${image}\n`, ...copies].join('');
}
