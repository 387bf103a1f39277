/** `tare wait`: waits for containers to end. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';
import { CliError } from '../errors.ts';

/** Answer of `POST /containers/{id}/wait`. */
export interface WaitResult {
  StatusCode: number;
  Error?: { Message: string } | null;
}

/** `wait`. */
export const command = defineCommand({
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Block until one or more containers stop, then print their exit codes',
  args: { min: 1, max: Infinity },
  flags: {},
  async run({ cli, args }) {
    await forEach(cli, args, async (name) => {
      const result = await cli.client.json<WaitResult>('POST', `/containers/${name}/wait`);
      // no exit code of a container: the daemon left before there was one
      if (result.StatusCode < 0 && result.Error) throw new CliError(`${name}: ${result.Error.Message}`);
      return String(result.StatusCode);
    });
  },
});
