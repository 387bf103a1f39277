/** `tare import`: makes an image of a file system in an archive. */
import type { Readable } from 'node:stream';
import { openInput } from '../archives.ts';
import { defineCommand } from '../command.ts';
import { list, string } from '../flags.ts';
import { displayProgress } from '../progress.ts';
import { parseImageName } from '../values/image-name.ts';

/** `import`. */
export const command = defineCommand({
  usage: '[OPTIONS] file|URL|- [REPOSITORY[:TAG]]',
  summary: 'Import the contents from a tarball to create a filesystem image',
  args: { min: 1, max: 2 },
  flags: {
    change: list('Apply Dockerfile instruction to the created image', { short: 'c' }),
    message: string('Set commit message for imported image', { short: 'm' }),
    platform: string('Set platform if server is multi-platform capable'),
  },
  async run({ cli, flags, args: [source, name] }) {
    const isUrl = /^https?:\/\//.test(source!);
    let body: Readable | undefined;
    if (source === '-') body = cli.stdin as unknown as Readable;
    else if (!isUrl) body = await openInput(cli, source!);
    const image = name === undefined ? undefined : parseImageName(name, { defaultTag: false });
    const response = await cli.client.call('POST', '/images/create', {
      query: {
        fromSrc: isUrl ? source : '-',
        repo: image?.repository,
        tag: image?.target,
        message: flags.message,
        changes: flags.change,
        platform: flags.platform,
      },
      ...(body ? { body } : {}),
    });
    await displayProgress(cli, response);
  },
});
