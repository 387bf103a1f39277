/** `tare export`: writes a container's file system as an archive. */
import { checkArchiveOutput, writeArchive } from '../archives.ts';
import { defineCommand } from '../command.ts';
import { string } from '../flags.ts';

/** `export`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  summary: "Export a container's filesystem as a tar archive",
  args: { min: 1 },
  flags: { output: string('Write to a file, instead of STDOUT', { short: 'o' }) },
  async run({ cli, flags, args }) {
    await checkArchiveOutput(cli, flags.output, 'export container');
    const response = await cli.client.call('GET', `/containers/${args[0]}/export`);
    await writeArchive(cli, response, flags.output);
  },
});
