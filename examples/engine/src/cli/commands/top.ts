/** `tare top`: shows a container's processes. */
import { defineCommand } from '../command.ts';
import { alignTabs } from '../format/tabwriter.ts';

/** `top`. */
export const command = defineCommand({
  usage: 'CONTAINER [ps OPTIONS]',
  summary: 'Display the running processes of a container',
  args: { min: 1, max: Infinity },
  flags: {},
  stopsAtArgument: true,
  async run({ cli, args: [name, ...psArguments] }) {
    const { Titles, Processes } = await cli.client.json<{ Titles: string[]; Processes: string[][] }>(
      'GET',
      `/containers/${name}/top`,
      { query: { ps_args: psArguments.join(' ') } },
    );
    const rows = [Titles, ...Processes].map((cells) => `${cells.join('\t')}\n`);
    cli.stdout.write(alignTabs(rows.join(''), { minWidth: 20 }));
  },
});
