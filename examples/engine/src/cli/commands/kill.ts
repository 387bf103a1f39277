/** `tare kill`: sends a signal. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';
import { string } from '../flags.ts';

/** `kill`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  summary: 'Kill one or more running containers',
  args: { min: 1, max: Infinity },
  flags: { signal: string('Signal to send to the container', { short: 's' }) },
  async run({ cli, flags, args }) {
    const work = async (name: string): Promise<string> => {
      await cli.client.text('POST', `/containers/${name}/kill`, { query: { signal: flags.signal } });
      return name;
    };
    await forEach(cli, args, work, { parallel: true });
  },
});
