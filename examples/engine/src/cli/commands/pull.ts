/** `tare pull`: fetches an image. */
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { encodeAuth } from '../config-file.ts';
import { UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { displayProgress, progressFlag, type ProgressOptions } from '../progress.ts';
import { parseImageName, type ImageName } from '../values/image-name.ts';

/**
 * Asks the daemon to pull an image and shows how it goes.
 *
 */
export async function pullImage(
  cli: Cli,
  name: ImageName,
  options: { platform: string; progress: ProgressOptions },
): Promise<void> {
  const response = await cli.client.call('POST', '/images/create', {
    query: {
      fromImage: name.repository,
      tag: name.target,
      platform: (options.platform || cli.environment['DOCKER_DEFAULT_PLATFORM'])?.toLowerCase(),
    },
    headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(name.registry)) },
  });
  await displayProgress(cli, response, options.progress);
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
    progress: progressFlag,
    quiet: toggle('Suppress verbose output', { short: 'q' }),
  },
  async run({ cli, flags, args }) {
    const name = parseImageName(args[0]!, { defaultTag: false });
    if (flags.allTags && name.target !== '') throw new UsageError("tag can't be used with --all-tags/-a");
    const whole = flags.allTags ? name : parseImageName(args[0]!);
    const mode = flags.quiet ? 'quiet' : flags.progress;
    const isForPeople = !flags.quiet && mode !== 'json';
    if (!flags.allTags && name.target === '' && isForPeople) cli.print('Using default tag: latest');
    await pullImage(cli, whole, { platform: flags.platform, progress: { mode } });
    if (mode !== 'json') cli.print(whole.canonical);
  },
});
