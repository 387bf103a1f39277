/** `tare rename`: gives a container another name. */
import { defineCommand } from '../command.ts';
import { CliError, UsageError } from '../errors.ts';

/** `rename`. */
export const command = defineCommand({
  usage: 'CONTAINER NEW_NAME',
  summary: 'Rename a container',
  args: { min: 2 },
  flags: {},
  async run({ cli, args }) {
    const [oldName, newName] = args.map((name) => name.trim()) as [string, string];
    if (oldName === '' || newName === '')
      throw new UsageError('Error: Neither old nor new names may be empty');
    try {
      await cli.client.text('POST', `/containers/${oldName}/rename`, { query: { name: newName } });
    } catch (error) {
      if (error instanceof CliError) cli.warn(error.message);
      throw new CliError(`Error: failed to rename container named ${oldName}`, { cause: error });
    }
  },
});
