/** `tare wait`: waits for containers to end. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';

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
      return String(result.StatusCode);
    });
  },
});
