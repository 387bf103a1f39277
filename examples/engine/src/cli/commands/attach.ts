/** `tare attach`: joins the streams of a running container. */
import { defineCommand } from '../command.ts';
import type { ContainerDetails } from '../attached-start.ts';
import { readText } from '../client.ts';
import { CliError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { proxySignals } from '../signals.ts';
import { runSession } from '../stdio-session.ts';
import { followTerminalSize, provokeRedraw } from '../terminal.ts';
import type { WaitResult } from './wait.ts';

/** `attach`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  summary: 'Attach local standard input, output, and error streams to a running container',
  args: { min: 1 },
  flags: {
    detachKeys: string('Override the key sequence for detaching a container'),
    noStdin: toggle('Do not attach STDIN'),
    sigProxy: toggle('Proxy all received signals to the process', { initial: true }),
  },
  async run({ cli, flags, args: [name] }) {
    const details = await cli.client.json<ContainerDetails>('GET', `/containers/${name}/json`);
    const { Running, Paused, Restarting } = details.State;
    if (!Running) throw new CliError('You cannot attach to a stopped container, start it first');
    if (Paused) throw new CliError('You cannot attach to a paused container, unpause it first');
    if (Restarting)
      throw new CliError('You cannot attach to a restarting container, wait until it is running');
    const stdin = !flags.noStdin && details.Config.OpenStdin;
    const tty = details.Config.Tty;
    if (stdin && tty && !cli.stdin.isTTY) throw new CliError('the input device is not a TTY');
    // Asked for before attaching, so that an exit in between is not missed.
    const exit = cli.client.call('POST', `/containers/${details.Id}/wait`, {
      query: { condition: 'next-exit' },
    });
    // Looked at after the session; when that fails, its own error is the one to report.
    exit.catch(() => undefined);
    const detachKeys = flags.detachKeys || cli.config.detachKeys;
    const socket = await cli.client.hijack(`/containers/${name}/attach`, {
      query: { stream: true, stdin, stdout: true, stderr: true, detachKeys },
    });
    using _signals = flags.sigProxy && !tty ? proxySignals(cli, details.Id) : undefined;
    let stopFollowing: (() => void) | undefined;
    if (tty && cli.stdout.isTTY) {
      await provokeRedraw(cli, `/containers/${details.Id}`);
      stopFollowing = followTerminalSize(cli, `/containers/${details.Id}`);
    }
    try {
      const end = await runSession(cli, socket, { stdin, stdout: true, stderr: true, tty, detachKeys });
      if (end === 'detached') throw new CliError('read escape sequence');
    } finally {
      stopFollowing?.();
    }
    const result = JSON.parse(await readText(await exit)) as WaitResult;
    if (result.Error) throw new CliError(result.Error.Message);
    return result.StatusCode;
  },
});
