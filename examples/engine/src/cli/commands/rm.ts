/** `tare rm`: removes containers. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';
import { DaemonError, UsageError } from '../errors.ts';
import { toggle } from '../flags.ts';

/** `rm`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  summary: 'Remove one or more containers',
  args: { min: 1, max: Infinity },
  flags: {
    force: toggle('Force the removal of a running container (uses SIGKILL)', { short: 'f' }),
    link: toggle('Remove the specified link', { short: 'l' }),
    volumes: toggle('Remove anonymous volumes associated with the container', { short: 'v' }),
  },
  async run({ cli, flags, args }) {
    const query = { v: flags.volumes, link: flags.link, force: flags.force };
    const work = async (given: string): Promise<string | void> => {
      const name = given.replace(/^\/+|\/+$/g, '');
      if (name === '') throw new UsageError('container name cannot be empty');
      try {
        await cli.client.text('DELETE', `/containers/${name}`, { query });
      } catch (error) {
        // With --force a missing container is worth a line, not a failure.
        if (!flags.force || !(error instanceof DaemonError) || error.status !== 404) throw error;
        cli.warn(error.message);
        return;
      }
      return given;
    };
    await forEach(cli, args, work, { parallel: true });
  },
});
