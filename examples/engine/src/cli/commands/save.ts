/** `tare save`: writes images as an archive. */
import { checkArchiveOutput, writeArchive } from '../archives.ts';
import { defineCommand } from '../command.ts';
import { string } from '../flags.ts';
import { platformJson } from '../values/platform.ts';

/** `save`. */
export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  summary: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  args: { min: 1, max: Infinity },
  flags: {
    output: string('Write to a file, instead of STDOUT', { short: 'o' }),
    platform: string('Save only the given platform variant'),
  },
  async run({ cli, flags, args }) {
    await checkArchiveOutput(cli, flags.output, 'save image');
    const response = await cli.client.call('GET', '/images/get', {
      query: { names: args, platform: platformJson(flags.platform) },
    });
    await writeArchive(cli, response, flags.output);
  },
});
