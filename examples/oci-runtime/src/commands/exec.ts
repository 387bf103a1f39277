/** `exec`: one more process in a container. */
import { RuntimeError } from '@tare/runtime-native';
import type { Container, ExecOptions } from '@tare/runtime-native';
import type { ProcessSpec, Spec } from '@tare/runtime-native/spec';

import { readJson } from '../bundle.ts';
import { namedContainer } from '../command.ts';
import type { Arguments, Command } from '../command.ts';
import { CommandError } from '../errors.ts';
import { follow } from '../foreground.ts';
import { openStdio, writePidFile } from '../stdio.ts';

/** What the command ends with when there was no process. */
const NO_PROCESS = 255;

/** `uid[:gid]`, numbers both. @throws {CommandError} */
export function parseUser(text: string): { uid: number; gid?: number } {
  const [, uid, gid] = /^(\d+)(?::(\d+))?$/.exec(text) ?? [];
  const numbers = [uid, gid].filter((part) => part !== undefined).map(Number);
  if (uid === undefined || numbers.some((number) => number > 0xffff_fffe))
    throw new CommandError(`parsing user "${text}": it must be a number, or two with a colon between`);
  return gid === undefined ? { uid: Number(uid) } : { uid: Number(uid), gid: Number(gid) };
}

/** The process of the container's spec, changed as the options say. */
function processFromOptions(spec: Spec, args: Arguments): ProcessSpec {
  const base = spec.process!;
  const [, ...program] = args.positionals;
  if (program.length === 0) throw new CommandError('process args cannot be empty');
  const user = args.text('user');
  const { uid, gid } = user === undefined ? base.user : { gid: base.user.gid, ...parseUser(user) };
  const additionalGids = args.texts('additional-gids').map((text) => parseUser(text).uid);
  const caps = args.texts('cap');
  const grown = (names: readonly string[] = []): string[] => [...new Set([...names, ...caps])];
  const sets = base.capabilities ?? {};
  return {
    ...base,
    args: program,
    env: [...(base.env ?? []), ...args.texts('env')],
    cwd: args.text('cwd') ?? base.cwd,
    terminal: args.flag('tty'),
    user: {
      ...base.user,
      uid,
      gid,
      additionalGids: [...(base.user.additionalGids ?? []), ...additionalGids],
    },
    noNewPrivileges: base.noNewPrivileges || args.flag('no-new-privs'),
    capabilities:
      caps.length === 0
        ? sets
        : {
            ...sets,
            bounding: grown(sets.bounding),
            effective: grown(sets.effective),
            permitted: grown(sets.permitted),
          },
  };
}

function execOptions(process: ProcessSpec): Omit<ExecOptions, 'stdio'> {
  const { args, env = [], cwd, user, capabilities = {}, noNewPrivileges = false } = process;
  return { args, env, cwd, user, capabilities, noNewPrivileges };
}

async function execute(container: Container, args: Arguments): Promise<number> {
  const { status } = await container.state();
  if (status === 'stopped') throw new CommandError('cannot exec in a stopped container');
  if (status === 'paused')
    throw new CommandError('cannot exec in a paused container (use --ignore-paused to override)');
  const file = args.text('process');
  const asked =
    file === undefined ? processFromOptions(container.spec, args) : (readJson(file) as ProcessSpec);
  const detach = args.flag('detach');
  const terminal = asked.terminal ?? false;
  using opened = openStdio({
    terminal,
    detach,
    consoleSocket: args.text('console-socket'),
    preserveFds: args.number('preserve-fds') ?? 0,
  });
  await using started = await container.exec({
    ...execOptions(asked),
    stdio: opened.stdio,
    detached: detach,
  });
  writePidFile(args.text('pid-file'), started.pid);
  return detach ? 0 : follow(started, { terminal, start: async () => {} });
}

export const exec: Command = {
  usage: '[command options] <container-id> <command> [command options]',
  summary: 'execute new process inside the container',
  options: {
    'console-socket': { type: 'string' },
    cwd: { type: 'string' },
    env: { type: 'string', short: 'e', multiple: true },
    tty: { type: 'boolean', short: 't' },
    user: { type: 'string', short: 'u' },
    'additional-gids': { type: 'string', short: 'g', multiple: true },
    process: { type: 'string', short: 'p' },
    detach: { type: 'boolean', short: 'd' },
    'pid-file': { type: 'string' },
    'no-new-privs': { type: 'boolean' },
    cap: { type: 'string', short: 'c', multiple: true },
    'preserve-fds': { type: 'string' },
    'ignore-paused': { type: 'boolean' },
  },
  takes: { min: 1 },
  passes: true,
  async run(context, args) {
    try {
      await using container = await namedContainer(context, args);
      return await execute(container, args);
    } catch (error) {
      throw failed(error);
    }
  },
};

function failed(error: unknown): unknown {
  if (error instanceof CommandError)
    return new CommandError(error.message, { exitCode: NO_PROCESS, cause: error });
  if (RuntimeError.is(error)) return Object.assign(error, { exitCode: NO_PROCESS });
  return error;
}
