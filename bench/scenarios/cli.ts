/** How long our command line takes beside the stock one, against the same daemon: the start of a process is most of it. */
import { pushHelloWorld } from '@tare/hello-world';
import { RegistryClient } from '@tare/registry-client';
import { spawnSync } from 'node:child_process';
import { startPeers, type Peer } from '../peers.ts';
import type { Bench, Contestant, Scenario } from '../scenario.ts';

const TITLES: Record<string, string[]> = {
  'Without a daemon: `--version`': ['--version'],
  '`version`': ['version'],
  '`ps -a`': ['ps', '-a'],
  '`images`': ['images'],
  '`inspect` of an image': ['inspect', 'IMAGE'],
  '`run --help`': ['run', '--help'],
};

export const scenario: Scenario = {
  title: 'The command line: `tare` beside `docker`, on the same daemon',
  async run(bench: Bench) {
    const { list, image } = bench.stack.use(
      await startPeers(async (host) => {
        await pushHelloWorld(new RegistryClient().repository(`${host}/hello-world`));
        return `${host}/hello-world`;
      }),
    );
    const peer = list[0]!;
    // the peer's command is the stock one with our daemon's address
    const at = peer.cli.findIndex((word) => word === '-H' || word === '--host');
    const address = peer.cli.slice(at, at + 2);
    const clients = [
      { name: 'tare', command: ['tare', ...address] },
      { name: peer.client, command: peer.cli },
    ];
    for (const [title, words] of Object.entries(TITLES)) {
      const args = words.map((word) => (word === 'IMAGE' ? image : word));
      await bench.compare(
        title,
        clients.map(({ name, command }): Contestant => ({
          name,
          once: () => call(peer, [...command, ...args]),
        })),
      );
    }
  },
};

function call({ env }: Peer, [command, ...args]: string[]): void {
  const { status, stderr, error } = spawnSync(command!, args, { encoding: 'utf8', env });
  if (status !== 0) throw error ?? new Error(`${command} ${args.join(' ')} failed:\n${stderr}`);
}
