/** `tare pull`: fetches an image. */
import type { IncomingMessage } from 'node:http';
import type { Cli, OutputStream } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { encodeAuth } from '../config-file.ts';
import { UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { displayProgress, readProgress } from '../progress.ts';
import { parseImageName, type ImageName } from '../values/image-name.ts';

/**
 * Asks the daemon to pull an image and shows how it goes.
 *
 * @param out where progress goes; undefined shows none
 */
export async function pullImage(
  cli: Cli,
  name: ImageName,
  options: { platform: string; out: OutputStream | undefined },
): Promise<void> {
  const response: IncomingMessage = await cli.client.call('POST', '/images/create', {
    query: {
      fromImage: name.repository,
      tag: name.target,
      platform: (options.platform || cli.environment['DOCKER_DEFAULT_PLATFORM'])?.toLowerCase(),
    },
    headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(name.registry)) },
  });
  if (options.out) await displayProgress(response, options.out);
  // Failures are in the stream, so it is read in any case.
  else for await (const _message of readProgress(response));
}

/** `pull`. */
export const command = defineCommand({
  usage: '[OPTIONS] NAME[:TAG|@DIGEST]',
  summary: 'Download an image from a registry',
  args: { min: 1 },
  flags: {
    allTags: toggle('Download all tagged images in the repository', { short: 'a' }),
    disableContentTrust: toggle('Skip image verification', { initial: true }),
    platform: string('Set platform if server is multi-platform capable'),
    quiet: toggle('Suppress verbose output', { short: 'q' }),
  },
  async run({ cli, flags, args }) {
    const name = parseImageName(args[0]!, { defaultTag: false });
    if (flags.allTags && name.target !== '') throw new UsageError("tag can't be used with --all-tags/-a");
    const whole = flags.allTags ? name : parseImageName(args[0]!);
    if (!flags.allTags && name.target === '' && !flags.quiet) cli.print('Using default tag: latest');
    await pullImage(cli, whole, { platform: flags.platform, out: flags.quiet ? undefined : cli.stdout });
    cli.print(whole.canonical);
  },
});
