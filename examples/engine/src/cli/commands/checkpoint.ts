/** `checkpoint create`, `ls`, `rm`. */
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { CliError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { printListing, type Listing } from '../output.ts';

const checkpointDir = string('Use a custom checkpoint storage directory');

/** @throws {CliError} when the daemon has no checkpoints, as one that offers nothing experimental */
async function requireExperimental(cli: Cli, command: string): Promise<void> {
  if (await cli.client.experimental()) return;
  throw new CliError(
    `tare checkpoint ${command} is only supported on a Docker daemon with experimental features enabled`,
  );
}

/** `checkpoint create`. */
export const create = defineCommand({
  usage: '[OPTIONS] CONTAINER CHECKPOINT',
  summary: 'Create a checkpoint from a running container',
  args: { min: 2 },
  flags: { checkpointDir, leaveRunning: toggle('Leave the container running after checkpoint') },
  async run({ cli, flags, args: [container, name] }) {
    await requireExperimental(cli, 'create');
    await cli.client.text('POST', `/containers/${container}/checkpoints`, {
      json: { CheckpointID: name, CheckpointDir: flags.checkpointDir, Exit: !flags.leaveRunning },
    });
    cli.print(name!);
  },
});

const listing: Listing<{ Name: string }> = {
  columns: { Name: { header: 'CHECKPOINT NAME', value: ({ Name }) => Name } },
  typeName: '*checkpoint.checkpointContext',
  table: '{{.Name}}',
};

/** `checkpoint ls`. */
export const ls = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  summary: 'List checkpoints for a container',
  args: { min: 1 },
  flags: { checkpointDir },
  async run({ cli, flags, args: [container] }) {
    await requireExperimental(cli, 'ls');
    const rows = await cli.client.json<{ Name: string }[] | null>(
      'GET',
      `/containers/${container}/checkpoints`,
      {
        query: { dir: flags.checkpointDir },
      },
    );
    printListing(cli, listing, rows ?? [], { format: '' });
  },
});

/** `checkpoint rm`. */
export const rm = defineCommand({
  usage: '[OPTIONS] CONTAINER CHECKPOINT',
  summary: 'Remove a checkpoint',
  args: { min: 2 },
  flags: { checkpointDir },
  async run({ cli, flags, args: [container, name] }) {
    await requireExperimental(cli, 'rm');
    await cli.client.text('DELETE', `/containers/${container}/checkpoints/${name}`, {
      query: { dir: flags.checkpointDir },
    });
  },
});
