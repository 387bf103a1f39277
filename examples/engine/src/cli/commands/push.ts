/** `tare push`: uploads an image. */
import { defineCommand } from '../command.ts';
import { encodeAuth } from '../config-file.ts';
import { UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { displayProgress, progressFlag } from '../progress.ts';
import { parseImageName } from '../values/image-name.ts';

/** `push`. */
export const command = defineCommand({
  usage: '[OPTIONS] NAME[:TAG]',
  summary: 'Upload an image to a registry',
  args: { min: 1 },
  flags: {
    allTags: toggle('Push all tags of an image to the repository', { short: 'a' }),
    disableContentTrust: toggle('Skip image signing', { initial: true }),
    platform: string('Push a platform-specific manifest as a single-platform image'),
    progress: progressFlag,
    quiet: toggle('Suppress verbose output', { short: 'q' }),
  },
  async run({ cli, flags, args }) {
    const given = parseImageName(args[0]!, { defaultTag: false });
    if (flags.allTags && given.target !== '') throw new UsageError("tag can't be used with --all-tags/-a");
    const name = flags.allTags ? given : parseImageName(args[0]!);
    if (!flags.allTags && given.target === '' && !flags.quiet && flags.progress !== 'json')
      cli.print('Using default tag: latest');
    const familiar = parseImageName(name.repository, { defaultTag: false }).familiar;
    const response = await cli.client.call('POST', `/images/${familiar}/push`, {
      query: { tag: name.target, platform: flags.platform },
      headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(name.registry)) },
    });
    await displayProgress(cli, response, { mode: flags.quiet ? 'quiet' : flags.progress });
    if (flags.quiet) cli.print(name.canonical);
  },
});
