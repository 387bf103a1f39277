/** `docker run --rm hello-world` on a bridge network, timed from outside, through the same stock CLI for each daemon. */
import { spawnSync } from 'node:child_process';
import { startPeers } from '../peers.ts';
import type { Bench, Scenario } from '../scenario.ts';

export const scenario: Scenario = {
  title: '`docker run --rm hello-world` on a bridge network',
  async run(bench: Bench) {
    const { list, absent } = bench.stack.use(await startPeers());
    await bench.compare(
      'Whole command',
      list.map(({ name, version, client, command, env, expects }) => ({
        name: `${name} ${version}, ${client}`,
        once() {
          const result = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', env });
          if (result.status === 0 && result.stdout.includes(expects)) return;
          throw new Error(`${name} failed: ${command.join(' ')}\n${result.stdout}${result.stderr}`);
        },
      })),
    );
    for (const { name, reason } of absent) bench.absent(name, reason);
  },
};
