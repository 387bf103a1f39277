/** `docker run --rm hello-world` on a bridge network, timed from outside, through the same stock CLI for each daemon. */
import { pushHelloWorld } from '@tare/hello-world';
import { RegistryClient } from '@tare/registry-client';
import { spawnSync } from 'node:child_process';
import { startPeers } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';

const GREETING = 'Hello from Tare!';

export const scenario: Scenario = {
  title: '`docker run --rm hello-world` on a bridge network',
  async run(bench: Bench) {
    const { list, absent, image } = bench.stack.use(
      await startPeers(async (host) => {
        await pushHelloWorld(new RegistryClient().repository(`${host}/hello-world`));
        return `${host}/hello-world`;
      }),
    );
    await bench.compare(
      'Whole command',
      list.map(({ name, version, client, cli, runFlags, env }) => ({
        name: `${name} ${version}, ${client}`,
        once() {
          const [command, ...args] = [...cli, 'run', '--rm', ...runFlags, image];
          const result = spawnSync(command!, args, { encoding: 'utf8', env });
          if (result.status === 0 && result.stdout.includes(GREETING)) return;
          throw new Error(`${name} failed: ${args.join(' ')}\n${result.stdout}${result.stderr}`);
        },
      })),
    );
    for (const { name, reason } of absent) bench.absent(name, reason);
  },
};
