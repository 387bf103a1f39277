/** `tare commit`: makes an image of a container. */
import { defineCommand } from '../command.ts';
import { list, string, toggle } from '../flags.ts';
import { parseImageName } from '../values/image-name.ts';

/** `commit`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [REPOSITORY[:TAG]]',
  summary: "Create a new image from a container's changes",
  args: { min: 1, max: 2 },
  flags: {
    author: string('Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', { short: 'a' }),
    change: list('Apply Dockerfile instruction to the created image', { short: 'c' }),
    message: string('Commit message', { short: 'm' }),
    pause: toggle('Pause container during commit', { short: 'p', initial: true }),
  },
  async run({ cli, flags, args: [container, name] }) {
    const image = name === undefined ? undefined : parseImageName(name);
    const { Id } = await cli.client.json<{ Id: string }>('POST', '/commit', {
      query: {
        container,
        repo: image?.repository,
        tag: image?.target,
        comment: flags.message,
        author: flags.author,
        changes: flags.change,
        pause: flags.pause ? undefined : '0',
      },
      json: {},
    });
    cli.print(Id);
  },
});
