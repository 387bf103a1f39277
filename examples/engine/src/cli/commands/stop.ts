/** `tare stop`: ends containers in their own time. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';
import { optionalInteger, string } from '../flags.ts';

/** `stop` and `restart` differ in one word. */
function stopping(verb: 'stop' | 'restart', summary: string) {
  return defineCommand({
    usage: '[OPTIONS] CONTAINER [CONTAINER...]',
    summary,
    args: { min: 1, max: Infinity },
    flags: {
      signal: string('Signal to send to the container', { short: 's' }),
      timeout: optionalInteger('Seconds to wait before killing the container', { short: 't', alias: 'time' }),
    },
    async run({ cli, flags, args }) {
      const query = { signal: flags.signal, t: flags.timeout };
      const work = async (name: string): Promise<string> => {
        await cli.client.text('POST', `/containers/${name}/${verb}`, { query });
        return name;
      };
      await forEach(cli, args, work, { parallel: true });
    },
  });
}

/** `stop`. */
export const command = stopping('stop', 'Stop one or more running containers');
export const restart = stopping('restart', 'Restart one or more containers');
