/** `tare pause`: freezes containers. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';

/** `pause`. */
export const command = defineCommand({
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Pause all processes within one or more containers',
  args: { min: 1, max: Infinity },
  flags: {},
  async run({ cli, args }) {
    const work = async (name: string): Promise<string> => {
      await cli.client.text('POST', `/containers/${name}/pause`);
      return name;
    };
    await forEach(cli, args, work, { parallel: true });
  },
});
