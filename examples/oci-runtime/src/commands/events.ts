/** `events`: statistics at intervals and OOM kills, one JSON document a line. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Container, ContainerStats } from '@tare/runtime-native';

import { namedContainer } from '../command.ts';
import type { Command } from '../command.ts';
import { CommandError } from '../errors.ts';
import { print } from '../log.ts';

const UNLIMITED = 2 ** 63 - 4096;

/** Milliseconds of a duration as Go writes it: `5s`, `1m30s`, `500ms`. @throws {CommandError} */
export function parseDuration(text: string): number {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.map(([part]) => part).join('') !== text || text === '')
    throw new CommandError(`invalid value "${text}" for flag -interval: parse error`);
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * units[unit!]!, 0);
}

/** Statistics in the shape that runc gives them. */
export function statsDocument(stats: ContainerStats): object {
  const { cpu, memory, pids, io = [] } = stats;
  const entries = (field: 'bytes' | 'operations'): object[] =>
    io.map((one) => ({
      major: one.major,
      minor: one.minor,
      op: one.op === 'read' ? 'Read' : 'Write',
      value: Number(one[field]),
    }));
  return {
    cpu: {
      usage: {
        total: Number(cpu?.usageNs ?? 0n),
        kernel: Number(cpu?.systemNs ?? 0n),
        user: Number(cpu?.userNs ?? 0n),
      },
      throttling: {
        periods: Number(cpu?.periods ?? 0n),
        throttledPeriods: Number(cpu?.throttledPeriods ?? 0n),
        throttledTime: Number(cpu?.throttledNs ?? 0n),
      },
    },
    memory: memory && {
      usage: {
        limit: memory.limitBytes === undefined ? UNLIMITED : Number(memory.limitBytes),
        usage: Number(memory.usageBytes),
        max: Number(memory.maxUsageBytes ?? 0n),
        failcnt: Number(memory.failures),
      },
      raw: Object.fromEntries(Object.entries(memory.stat).map(([key, value]) => [key, Number(value)])),
    },
    pids: pids && { current: pids.current, ...(pids.limit === undefined ? {} : { limit: pids.limit }) },
    blkio: { ioServiceBytesRecursive: entries('bytes'), ioServicedRecursive: entries('operations') },
  };
}

const say = (type: string, id: string, data?: object): void =>
  print(1, `${JSON.stringify({ type, id, ...(data ? { data } : {}) })}\n`);

async function sayStats(container: Container): Promise<void> {
  say('stats', container.id, statsDocument(await container.stats()));
}

export const events: Command = {
  usage: '[command options] <container-id>',
  summary: 'display container events such as OOM notifications, cpu, memory, and IO usage statistics',
  options: { interval: { type: 'string' }, stats: { type: 'boolean' } },
  takes: { exact: 1 },
  async run(context, args) {
    const interval = parseDuration(args.text('interval') ?? '5s');
    if (interval <= 0) throw new CommandError('duration interval must be greater than 0');
    await using container = await namedContainer(context, args);
    const { status, id } = await container.state();
    if (status === 'stopped') throw new CommandError(`container with id ${id} is not running`);
    if (args.flag('stats')) return sayStats(container);
    const ended = new AbortController();
    const ticking = tick(container, interval, ended.signal);
    for await (const event of container.events()) if (event.type === 'oom') say('oom', id);
    ended.abort();
    await ticking;
  },
};

async function tick(container: Container, interval: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sayStats(container);
    // woken by the end of the container
    await pause(interval, undefined, { signal }).catch(() => {});
  }
}
