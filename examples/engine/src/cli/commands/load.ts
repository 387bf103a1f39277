/** `tare load`: takes images out of an archive. */
import type { Readable } from 'node:stream';
import { openInput } from '../archives.ts';
import { defineCommand } from '../command.ts';
import { CliError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { displayProgress } from '../progress.ts';

/** `load`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Load an image from a tar archive or STDIN',
  args: { min: 0 },
  flags: {
    input: string('Read from tar archive file, instead of STDIN', { short: 'i' }),
    quiet: toggle('Suppress the load output', { short: 'q' }),
  },
  async run({ cli, flags }) {
    if (flags.input === '' && cli.stdin.isTTY) {
      throw new CliError('requested load from stdin, but stdin is empty');
    }
    // opened before anything is asked: a missing file is no matter of the daemon's
    const body = flags.input === '' ? (cli.stdin as unknown as Readable) : await openInput(cli, flags.input);
    const response = await cli.client.call('POST', '/images/load', {
      query: { quiet: flags.quiet || !cli.stdout.isTTY },
      headers: { 'Content-Type': 'application/x-tar' },
      body,
    });
    await displayProgress(response, cli.stdout);
  },
});
