/** `tare exec`: runs one more program in a running container. */
import { defineCommand } from '../command.ts';
import type { ContainerDetails } from '../attached-start.ts';
import { CliError } from '../errors.ts';
import { list, listOf, string, toggle } from '../flags.ts';
import { runSession } from '../stdio-session.ts';
import { followTerminalSize } from '../terminal.ts';
import { expandVariable, readKeyValueFile, requireVariableName } from '../values/key-value.ts';

/** `exec`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER COMMAND [ARG...]',
  summary: 'Execute a command in a running container',
  args: { min: 2, max: Infinity },
  stopsAtArgument: true,
  flags: {
    detach: toggle('Detached mode: run command in the background', { short: 'd' }),
    detachKeys: string('Override the key sequence for detaching a container'),
    env: listOf(requireVariableName, 'Set environment variables', { short: 'e' }),
    envFile: list('Read in a file of environment variables'),
    interactive: toggle('Keep STDIN open even if not attached', { short: 'i' }),
    privileged: toggle('Give extended privileges to the command'),
    tty: toggle('Allocate a pseudo-TTY', { short: 't' }),
    user: string('Username or UID (format: "<name|uid>[:<group|gid>]")', { short: 'u' }),
    workdir: string('Working directory inside the container', { short: 'w' }),
  },
  async run({ cli, flags, args: [container, ...command] }) {
    const env = [
      ...flags.envFile.flatMap((path) => readKeyValueFile(path, cli.environment)),
      ...flags.env.map((text) => expandVariable(text, cli.environment)),
    ];
    const attach = !flags.detach;
    const detachKeys = flags.detachKeys || cli.config.detachKeys || '';
    const consoleSize = [cli.stdout.rows ?? 0, cli.stdout.columns ?? 0];
    // The container first: an exec in one that does not exist or run should fail with that reason.
    await cli.client.json<ContainerDetails>('GET', `/containers/${container}/json`);
    if (attach && flags.interactive && flags.tty && !cli.stdin.isTTY)
      throw new CliError('the input device is not a TTY');
    const { Id } = await cli.client.json<{ Id: string }>('POST', `/containers/${container}/exec`, {
      json: {
        User: flags.user,
        Privileged: flags.privileged,
        Tty: flags.tty,
        ...(flags.tty && attach && { ConsoleSize: consoleSize }),
        AttachStdin: attach && flags.interactive,
        AttachStdout: attach,
        AttachStderr: attach,
        Detach: flags.detach,
        DetachKeys: detachKeys,
        Env: env.length > 0 ? env : null,
        WorkingDir: flags.workdir,
        Cmd: command,
      },
    });
    const start = { Detach: flags.detach, Tty: flags.tty };
    if (!attach) {
      await cli.client.text('POST', `/exec/${Id}/start`, { json: start });
      return 0;
    }
    const socket = await cli.client.hijack(`/exec/${Id}/start`, {
      json: flags.tty ? { ...start, ConsoleSize: consoleSize } : start,
    });
    const session = runSession(cli, socket, {
      stdin: flags.interactive,
      stdout: true,
      stderr: true,
      tty: flags.tty,
      detachKeys,
    });
    const stopFollowing = flags.tty && cli.stdin.isTTY ? followTerminalSize(cli, `/exec/${Id}`) : undefined;
    try {
      if ((await session) === 'detached') return 0;
    } finally {
      stopFollowing?.();
    }
    const { ExitCode } = await cli.client.json<{ ExitCode: number | null }>('GET', `/exec/${Id}/json`);
    return ExitCode ?? 0;
  },
});
