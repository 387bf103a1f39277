/** `system dial-stdio`: hands bytes on between standard streams and the daemon, for clients at the other end of ssh. */
import { defineCommand } from '../command.ts';

/** `system dial-stdio`. */
export const command = defineCommand({
  usage: '',
  summary: 'Proxy the stdio stream to the daemon connection. Should not be invoked manually.',
  args: { min: 0 },
  flags: {},
  async run({ cli }) {
    const connection = await cli.client.dial();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    connection.once('error', reject);
    connection.once('end', resolve);
    // either side may finish first: the other goes on until it has said all
    cli.stdin.pipe(connection);
    connection.on('data', (chunk: Buffer) => {
      if (cli.stdout.write(chunk)) return;
      connection.pause();
      cli.stdout.once('drain', () => connection.resume());
    });
    await promise;
    connection.destroy();
  },
});
