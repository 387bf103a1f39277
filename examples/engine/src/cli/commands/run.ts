/** `tare run`: creates, starts and attaches, and ends as the container did. */
import type { Cli } from '../cli.ts';
import { attachAndStart } from '../attached-start.ts';
import { defineCommand } from '../command.ts';
import type { CreateRequest } from '../container-config.ts';
import { CliError, UsageError } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { startFailureCode, withHelp } from '../help-hint.ts';
import { containerFlags, creationFlags } from '../run-flags.ts';
import { createContainer, requestOf } from './create.ts';

/** `run`. */
export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  summary: 'Create and run a new container from an image',
  args: { min: 1, max: Infinity },
  stopsAtArgument: true,
  flags: {
    ...containerFlags,
    ...creationFlags,
    detach: toggle('Run container in background and print container ID', { short: 'd' }),
    detachKeys: string('Override the key sequence for detaching a container'),
    sigProxy: toggle('Proxy received signals to the process', { initial: true }),
  },
  async run({ cli, flags, given, args }) {
    const request = requestOf('run', cli, { flags, given, args });
    if (flags.detach) detach(request, flags.attach);
    if (request.AttachStdin && request.Tty && !cli.stdin.isTTY)
      throw new CliError('the input device is not a TTY');
    let id: string;
    try {
      id = await createContainer(cli, request, flags);
    } catch (error) {
      throw withHelp(error, 'run', startFailureCode(error));
    }
    if (flags.detach) return startDetached(cli, id);
    try {
      return await attachAndStart(cli, {
        id,
        stdin: request.AttachStdin,
        stdout: request.AttachStdout,
        stderr: request.AttachStderr,
        tty: request.Tty,
        autoRemove: flags.rm,
        detachKeys: flags.detachKeys || cli.config.detachKeys,
        sigProxy: flags.sigProxy && !request.Tty,
      });
    } catch (error) {
      throw withHelp(error, 'run', startFailureCode(error));
    }
  },
});

/** A detached container keeps its stdin open when asked to, but nobody is attached. */
function detach(request: CreateRequest, attach: readonly string[]): void {
  if (attach.length > 0)
    throw new UsageError('conflicting options: cannot specify both --attach and --detach');
  request.AttachStdin = false;
  request.AttachStdout = false;
  request.AttachStderr = false;
  request.StdinOnce = false;
}

async function startDetached(cli: Cli, id: string): Promise<number> {
  try {
    await cli.client.text('POST', `/containers/${id}/start`);
  } catch (error) {
    // The id is printed even so, as Docker does: the container exists.
    cli.print(id);
    throw withHelp(error, 'run', startFailureCode(error));
  }
  cli.print(id);
  return 0;
}
