/** What is done to a container that exists: start, kill, delete, pause, resume. */
import { constants } from 'node:os';
import { RuntimeError } from '@tare/runtime-native';

import { namedContainer } from '../command.ts';
import type { Command } from '../command.ts';
import { CommandError } from '../errors.ts';

const NOT_RUNNING = 'container not running';

export const start: Command = {
  usage: '<container-id>',
  summary: 'executes the user defined process in a created container',
  options: {},
  takes: { exact: 1 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    const { status } = await container.state();
    if (status === 'stopped') throw new CommandError('cannot start a container that has stopped');
    if (status !== 'created') throw new CommandError('cannot start an already running container');
    await container.start();
  },
};

/** The number of a signal: `9`, `KILL` or `SIGKILL`. @throws {CommandError} */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number <= 64) return number;
  }
  const name = text.toUpperCase();
  const known: Partial<Record<string, number>> = constants.signals;
  const number = known[name.startsWith('SIG') ? name : `SIG${name}`] ?? realTimeSignal(name);
  if (number === undefined) throw new CommandError(`unknown signal "${text}"`);
  return number;
}

/** SIGRTMIN is 34 to a C library, which keeps two for itself. */
function realTimeSignal(name: string): number | undefined {
  const [, base, sign, distance = '0'] = /^(?:SIG)?RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name) ?? [];
  if (base === undefined) return undefined;
  const number = (base === 'MIN' ? 34 : 64) + (sign === '-' ? -Number(distance) : Number(distance));
  return number >= 34 && number <= 64 ? number : undefined;
}

export const kill: Command = {
  usage: '[command options] <container-id> [signal]',
  summary: "sends the specified signal (default: SIGTERM) to the container's init process",
  options: { all: { type: 'boolean', short: 'a' } },
  takes: { min: 1, max: 2 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    const signal = signalNumber(args.positionals[1] ?? 'SIGTERM');
    const { status } = await container.state();
    // what is left of a container that has ended can be reached all the same
    if (args.flag('all')) return container.killAll(signal);
    if (status === 'stopped') throw new CommandError(NOT_RUNNING);
    try {
      await container.kill(signal);
    } catch (error) {
      if (RuntimeError.is(error) && error.code === 'NOT_RUNNING')
        throw new CommandError(NOT_RUNNING, { cause: error });
      throw error;
    }
  },
};

export const remove: Command = {
  usage: '[command options] <container-id>',
  summary: 'delete any resources held by the container often used with detached container',
  options: { force: { type: 'boolean', short: 'f' } },
  takes: { exact: 1 },
  async run(context, args) {
    const force = args.flag('force');
    try {
      const container = await namedContainer(context, args);
      const { status, id } = await container.state();
      // who has not begun needs no asking
      if (!force && status !== 'stopped' && status !== 'created')
        throw new CommandError(`cannot delete container ${id} that is not stopped: ${status}`);
      await container.delete({ force: true });
    } catch (error) {
      if (force && RuntimeError.is(error) && error.code === 'NOT_FOUND') return;
      throw error;
    }
  },
};

export const pause: Command = {
  usage: '<container-id>',
  summary: 'suspends all processes inside the container',
  options: {},
  takes: { exact: 1 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    const { status } = await container.state();
    if (status !== 'running') throw new CommandError(NOT_RUNNING);
    await container.pause();
  },
};

export const resume: Command = {
  usage: '<container-id>',
  summary: 'resumes all processes that have been previously paused',
  options: {},
  takes: { exact: 1 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    const { status } = await container.state();
    if (status !== 'paused') throw new CommandError('container not paused');
    await container.resume();
  },
};
