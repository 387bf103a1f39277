/** `tare load`: takes images out of an archive. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { openInput } from '../archives.ts';
import { defineCommand } from '../command.ts';
import { CliError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { displayProgress, progressFlag } from '../progress.ts';
import { metered } from '../upload.ts';
import { platformJson } from '../values/platform.ts';

/** `load`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Load an image from a tar archive or STDIN',
  args: { min: 0 },
  flags: {
    input: string('Read from tar archive file, instead of STDIN', { short: 'i' }),
    platform: string('Load only the given platform variant'),
    progress: progressFlag,
    quiet: toggle('Suppress the load output', { short: 'q' }),
  },
  async run({ cli, flags }) {
    if (flags.input === '' && cli.stdin.isTTY) {
      throw new CliError('requested load from stdin, but stdin is empty');
    }
    // opened before anything is asked: a missing file is no matter of the daemon's
    const source =
      flags.input === '' ? (cli.stdin as unknown as Readable) : await openInput(cli, flags.input);
    const size = flags.input === '' ? 0 : statSync(resolve(cli.workingDirectory, flags.input)).size;
    const mode = flags.quiet ? 'quiet' : flags.progress;
    const body = metered(cli, source, 'Sending the archive', size, mode);
    const response = await cli.client.call('POST', '/images/load', {
      query: {
        quiet: flags.quiet || (!cli.stdout.isTTY && mode === 'auto'),
        platform: platformJson(flags.platform),
      },
      headers: { 'Content-Type': 'application/x-tar' },
      body,
    });
    // what was loaded is said even when nothing else is
    await displayProgress(cli, response, { mode: flags.quiet ? 'plain' : mode });
  },
});
