/** `update`: limits of a container that runs. */
import type { LinuxResources } from '@tare/runtime-native/spec';

import { readJson } from '../bundle.ts';
import { namedContainer } from '../command.ts';
import type { Arguments, Command } from '../command.ts';
import { CommandError } from '../errors.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** A number of bytes with an optional unit; -1 is unlimited. @throws {CommandError} */
export function parseBytes(text: string, option: string): number {
  const [, number, unit = ''] = /^(-1|\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  const scale = UNITS[unit.toLowerCase()];
  if (number === undefined || scale === undefined)
    throw new CommandError(`invalid value for ${option}: ${text}`);
  return number === '-1' ? -1 : Math.floor(Number(number) * scale);
}

function resourcesOf(args: Arguments): LinuxResources {
  const file = args.text('resources');
  if (file !== undefined) return readJson(file === '-' ? 0 : file) as LinuxResources;
  const bytes = (name: string): number | undefined => {
    const text = args.text(name);
    return text === undefined ? undefined : parseBytes(text, name);
  };
  const whole = (name: string): number | undefined => args.number(name);
  return pruned({
    memory: { limit: bytes('memory'), reservation: bytes('memory-reservation'), swap: bytes('memory-swap') },
    cpu: {
      shares: whole('cpu-share') ?? whole('cpu-shares'),
      quota: whole('cpu-quota'),
      period: whole('cpu-period'),
      burst: whole('cpu-burst'),
      idle: whole('cpu-idle'),
      realtimePeriod: whole('cpu-rt-period'),
      realtimeRuntime: whole('cpu-rt-runtime'),
      cpus: args.text('cpuset-cpus'),
      mems: args.text('cpuset-mems'),
    },
    pids: { limit: whole('pids-limit') },
    blockIO: { weight: whole('blkio-weight') },
  });
}

/** Without what is not asked for: a field that is absent keeps its value. */
function pruned(groups: Record<string, Record<string, unknown>>): LinuxResources {
  const present = Object.entries(groups).map(
    ([name, group]) =>
      [name, Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined))] as const,
  );
  return Object.fromEntries(present.filter(([, group]) => Object.keys(group).length > 0));
}

const TEXT = { type: 'string' } as const;

export const update: Command = {
  usage: '[command options] <container-id>',
  summary: 'update container resource constraints',
  options: {
    resources: { type: 'string', short: 'r' },
    'blkio-weight': TEXT,
    'cpu-period': TEXT,
    'cpu-quota': TEXT,
    'cpu-burst': TEXT,
    'cpu-share': TEXT,
    'cpu-shares': TEXT,
    'cpu-rt-period': TEXT,
    'cpu-rt-runtime': TEXT,
    'cpu-idle': TEXT,
    'cpuset-cpus': TEXT,
    'cpuset-mems': TEXT,
    memory: TEXT,
    'memory-reservation': TEXT,
    'memory-swap': TEXT,
    'pids-limit': TEXT,
  },
  takes: { exact: 1 },
  async run(context, args) {
    await using container = await namedContainer(context, args);
    await container.update(resourcesOf(args));
  },
};
