/** `create` and `run`: a container from a bundle. */
import type { Container } from '@tare/runtime-native';

import { openBundle, placeCgroup } from '../bundle.ts';
import type { Arguments, Command, Context } from '../command.ts';
import { CommandError } from '../errors.ts';
import { follow } from '../foreground.ts';
import { listenFds, openStdio, writePidFile } from '../stdio.ts';

const OPTIONS = {
  bundle: { type: 'string', short: 'b' },
  'console-socket': { type: 'string' },
  'pid-file': { type: 'string' },
  'no-pivot': { type: 'boolean' },
  'no-new-keyring': { type: 'boolean' },
  'preserve-fds': { type: 'string' },
} as const;

interface Made {
  container: Container;
  terminal: boolean;
}

/** Makes the container that the arguments describe; nothing is left of one whose pid cannot be written down. */
async function make({ runtime, systemdCgroup }: Context, args: Arguments, detach: boolean): Promise<Made> {
  const [id = ''] = args.positionals;
  const { bundle, spec } = openBundle(args.text('bundle'));
  const terminal = spec.process?.terminal ?? false;
  const { env } = listenFds();
  if (env.length > 0 && spec.process) spec.process.env = [...(spec.process.env ?? []), ...env];
  using opened = openStdio({
    terminal,
    detach,
    consoleSocket: args.text('console-socket'),
    preserveFds: args.number('preserve-fds') ?? 0,
  });
  const container = await runtime.create(id, {
    spec: placeCgroup(spec, systemdCgroup),
    bundle,
    stdio: opened.stdio,
    lookUp: true,
    pivot: !args.flag('no-pivot'),
    newKeyring: !args.flag('no-new-keyring'),
  });
  await undoing(container, async () => writePidFile(args.text('pid-file'), container.pid));
  return { container, terminal };
}

async function undoing(container: Container, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    await container.delete({ force: true });
    throw error;
  }
}

export const create: Command = {
  usage: '[command options] <container-id>',
  summary: 'create a container',
  options: OPTIONS,
  takes: { exact: 1 },
  async run(context, args) {
    const { container } = await make(context, args, true);
    await container[Symbol.asyncDispose]();
  },
};

export const run: Command = {
  usage: '[command options] <container-id>',
  summary: 'create and run a container',
  options: {
    ...OPTIONS,
    detach: { type: 'boolean', short: 'd' },
    keep: { type: 'boolean' },
    'no-subreaper': { type: 'boolean' },
  },
  takes: { exact: 1 },
  async run(context, args) {
    const detach = args.flag('detach');
    const keep = args.flag('keep');
    if (detach && keep)
      throw new CommandError('cannot keep a container that is detached: nobody would delete it');
    const { container, terminal } = await make(context, args, detach);
    if (detach) {
      await undoing(container, () => container.start());
      await container[Symbol.asyncDispose]();
      return 0;
    }
    return runToEnd(container, terminal, keep);
  },
};

async function runToEnd(container: Container, terminal: boolean, keep: boolean): Promise<number> {
  try {
    return await follow(container, { terminal, start: () => container.start() });
  } finally {
    if (!keep) await container.delete({ force: true });
  }
}
