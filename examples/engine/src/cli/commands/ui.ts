/** `tare ui`: the dashboard, for as long as the command runs. */
import { defineCommand } from '../command.ts';
import { UsageError } from '../errors.ts';
import { parsed, toggle } from '../flags.ts';

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) throw new UsageError(`${text} is not a port`);
  return port;
}

/** `ui`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: `Show the daemon in a browser: containers, images, networks, volumes, Jobs and events

The page is served on this machine's loopback address, to whoever opens the address that is printed, until the command
ends. It looks at the daemon that other commands would use, also through ssh, and changes nothing.`,
  args: { min: 0 },
  flags: {
    open: toggle('Open the page in the browser', { initial: true }),
    port: parsed(parsePort, 'port', 0, 'Port to listen on (default any that is free)', { short: 'p' }),
  },
  async run({ cli, flags }) {
    // said now rather than by an empty page
    await cli.client.apiVersion();
    const { startUiServer } = await import('../ui-server.ts');
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
    await using server = await startUiServer(cli.client, flags.port);
    cli.print(server.url);
    if (flags.open && cli.stdout.isTTY) {
      const { openBrowser } = await import('../open-browser.ts');
      openBrowser(server.url, cli.environment);
      cli.warn('Press ctrl-C to stop.');
    }
    await promise;
  },
});
