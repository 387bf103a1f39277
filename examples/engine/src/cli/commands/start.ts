/** `tare start`: starts containers, or one with its streams attached. */
import { attachAndStart, type ContainerDetails } from '../attached-start.ts';
import { defineCommand } from '../command.ts';
import type { Cli } from '../cli.ts';
import type { Query } from '../client.ts';
import { CliError, ManyErrors, UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';

/** `start`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  summary: 'Start one or more stopped containers',
  args: { min: 1, max: Infinity },
  flags: {
    attach: toggle('Attach STDOUT/STDERR and forward signals', { short: 'a' }),
    checkpoint: string('Restore from this checkpoint'),
    checkpointDir: string('Use a custom checkpoint storage directory'),
    detachKeys: string('Override the key sequence for detaching a container'),
    interactive: toggle("Attach container's STDIN", { short: 'i' }),
  },
  async run({ cli, flags, args }) {
    if (flags.checkpoint !== '' && args.length > 1) {
      throw new UsageError('you cannot restore multiple containers at once');
    }
    const query = { checkpoint: flags.checkpoint, 'checkpoint-dir': flags.checkpointDir };
    if (!flags.attach && !flags.interactive) return startAll(cli, args, query);
    if (args.length > 1) throw new UsageError('you cannot start and attach multiple containers at once');
    const { Id, Config, HostConfig } = await cli.client.json<ContainerDetails>(
      'GET',
      `/containers/${args[0]}/json`,
    );
    return attachAndStart(cli, {
      id: Id,
      stdin: flags.interactive && Config.OpenStdin,
      stdout: true,
      stderr: true,
      tty: Config.Tty,
      autoRemove: HostConfig.AutoRemove,
      detachKeys: flags.detachKeys || cli.config.detachKeys,
      sigProxy: !Config.Tty,
    });
  },
});

async function startAll(cli: Cli, names: readonly string[], query: Query): Promise<void> {
  const failures: unknown[] = [];
  const failed: string[] = [];
  for (const name of names) {
    try {
      await cli.client.text('POST', `/containers/${name}/start`, { query });
      cli.print(name);
    } catch (error) {
      failures.push(error);
      failed.push(name);
    }
  }
  if (failed.length === 0) return;
  throw new ManyErrors([
    ...failures,
    new CliError(`Error: failed to start containers: ${failed.join(', ')}`),
  ]);
}
