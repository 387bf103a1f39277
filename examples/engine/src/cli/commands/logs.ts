/** `tare logs`: prints what a container has written. */
import { once } from 'node:events';
import { defineCommand } from '../command.ts';
import type { ContainerDetails } from '../attached-start.ts';
import { UsageError, messageOf } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { StdioDemultiplexer } from '../stdcopy.ts';
import { parseMoment } from '../values/duration.ts';

/** `logs`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  summary: 'Fetch the logs of a container',
  args: { min: 1 },
  flags: {
    details: toggle('Show extra details provided to logs'),
    follow: toggle('Follow log output', { short: 'f' }),
    since: string(
      'Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
    ),
    tail: string('Number of lines to show from the end of the logs', { short: 'n', initial: 'all' }),
    timestamps: toggle('Show timestamps', { short: 't' }),
    until: string(
      'Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
    ),
  },
  async run({ cli, flags, args }) {
    const { Id, Config } = await cli.client.json<ContainerDetails>('GET', `/containers/${args[0]}/json`);
    const response = await cli.client.call('GET', `/containers/${Id}/logs`, {
      query: {
        stdout: true,
        stderr: true,
        follow: flags.follow,
        timestamps: flags.timestamps,
        details: flags.details,
        tail: flags.tail,
        since: moment('since', flags.since),
        until: moment('until', flags.until),
      },
    });
    let full = false;
    const demultiplexer = new StdioDemultiplexer((channel, payload) => {
      const target = channel === 'stderr' ? cli.stderr : cli.stdout;
      full = !target.write(payload) && target === cli.stdout;
    });
    for await (const chunk of response) {
      if (Config.Tty) full = !cli.stdout.write(chunk);
      else demultiplexer.push(chunk as Buffer);
      if (full) await once(cli.stdout, 'drain');
      full = false;
    }
    if (flags.follow) await cli.client.stillThere();
  },
});

/** A moment for the query; what is wrong with it names the flag. */
function moment(name: string, text: string): string {
  try {
    return text && parseMoment(text, Date.now());
  } catch (cause) {
    throw new UsageError(`invalid value for ${JSON.stringify(name)}: ${messageOf(cause)}`, { cause });
  }
}
