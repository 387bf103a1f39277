/** Resource use as the kernel counts it, in the shape of the runtime seam, for both versions. */
import type { ContainerStats } from '../runtime.ts';
import { keyValues, readOptional } from './files.ts';

type Cpu = NonNullable<ContainerStats['cpu']>;
type Memory = NonNullable<ContainerStats['memory']>;
type Io = NonNullable<ContainerStats['io']>;

/** cpuacct.stat counts in clock ticks, which are a hundredth of a second on every architecture of Linux. */
const NANOSECONDS_PER_TICK = 10_000_000n;
const NANOSECONDS_PER_MICROSECOND = 1000n;
/** Version 1 says "unlimited" with a number: the largest multiple of the page size (at most 64 KiB). */
const UNLIMITED_V1 = (1n << 63n) - (1n << 16n);

/** @param cpu folder of the cpu controller, for throttling, when there is one */
export function cpuV1(cpuacct: string, cpu: string | undefined): Cpu | undefined {
  const usage = readOptional(`${cpuacct}/cpuacct.usage`);
  if (usage === undefined) return undefined;
  const split = keyValues(readOptional(`${cpuacct}/cpuacct.stat`) ?? '');
  const throttling = keyValues((cpu && readOptional(`${cpu}/cpu.stat`)) ?? '');
  return {
    usageNs: BigInt(usage.trim()),
    userNs: (split['user'] ?? 0n) * NANOSECONDS_PER_TICK,
    systemNs: (split['system'] ?? 0n) * NANOSECONDS_PER_TICK,
    periods: throttling['nr_periods'] ?? 0n,
    throttledPeriods: throttling['nr_throttled'] ?? 0n,
    throttledNs: throttling['throttled_time'] ?? 0n,
  };
}

/** Usage is there in every version 2 cgroup; throttling only with the cpu controller, otherwise zero. */
export function cpuV2(folder: string): Cpu | undefined {
  const text = readOptional(`${folder}/cpu.stat`);
  if (text === undefined) return undefined;
  const stat = keyValues(text);
  const micro = (key: string): bigint => (stat[key] ?? 0n) * NANOSECONDS_PER_MICROSECOND;
  return {
    usageNs: micro('usage_usec'),
    userNs: micro('user_usec'),
    systemNs: micro('system_usec'),
    periods: stat['nr_periods'] ?? 0n,
    throttledPeriods: stat['nr_throttled'] ?? 0n,
    throttledNs: micro('throttled_usec'),
  };
}

export function memoryV1(folder: string): Memory | undefined {
  const usage = readOptional(`${folder}/memory.usage_in_bytes`);
  if (usage === undefined) return undefined;
  const limit = integer(readOptional(`${folder}/memory.limit_in_bytes`));
  return {
    usageBytes: BigInt(usage.trim()),
    limitBytes: limit === undefined || limit >= UNLIMITED_V1 ? undefined : limit,
    maxUsageBytes: integer(readOptional(`${folder}/memory.max_usage_in_bytes`)),
    failures: integer(readOptional(`${folder}/memory.failcnt`)) ?? 0n,
    stat: keyValues(readOptional(`${folder}/memory.stat`) ?? ''),
  };
}

export function memoryV2(folder: string): Memory | undefined {
  const usage = readOptional(`${folder}/memory.current`);
  if (usage === undefined) return undefined;
  return {
    usageBytes: BigInt(usage.trim()),
    limitBytes: integer(readOptional(`${folder}/memory.max`)),
    // Linux 5.19
    maxUsageBytes: integer(readOptional(`${folder}/memory.peak`)),
    failures: keyValues(readOptional(`${folder}/memory.events`) ?? '')['max'] ?? 0n,
    stat: keyValues(readOptional(`${folder}/memory.stat`) ?? ''),
  };
}

/** The files are the same in both versions. */
export function pidsOf(folder: string): ContainerStats['pids'] {
  const current = readOptional(`${folder}/pids.current`);
  if (current === undefined) return undefined;
  const limit = integer(readOptional(`${folder}/pids.max`));
  return { current: Number(current), limit: limit === undefined ? undefined : Number(limit) };
}

export function ioV1(folder: string): Io | undefined {
  // the throttling layer sees every request; the scheduler's counters exist only while BFQ is in use
  const bytes = readOptional(`${folder}/blkio.throttle.io_service_bytes_recursive`);
  const operations = readOptional(`${folder}/blkio.throttle.io_serviced_recursive`);
  if (bytes === undefined || operations === undefined) return undefined;
  const counts = blkioCounters(operations);
  return [...blkioCounters(bytes)].map(([key, amount]) => {
    const [device, op] = key.split(' ') as [string, 'read' | 'write'];
    return { ...deviceNumber(device), op, bytes: amount, operations: counts.get(key) ?? 0n };
  });
}

export function ioV2(folder: string): Io | undefined {
  const text = readOptional(`${folder}/io.stat`);
  if (text === undefined) return undefined;
  return text.split('\n').flatMap((line) => {
    const [device, ...pairs] = line.trim().split(' ');
    if (!device || pairs.length === 0) return [];
    const values = new Map(pairs.map((pair) => pair.split('=') as [string, string]));
    const counter = (key: string): bigint => BigInt(values.get(key) ?? '0');
    return [
      { ...deviceNumber(device), op: 'read' as const, bytes: counter('rbytes'), operations: counter('rios') },
      {
        ...deviceNumber(device),
        op: 'write' as const,
        bytes: counter('wbytes'),
        operations: counter('wios'),
      },
    ];
  });
}

/** `8:0 Read 4096` lines by device and operation; totals, sync and discard left out. */
function blkioCounters(text: string): Map<string, bigint> {
  const counters = new Map<string, bigint>();
  for (const line of text.split('\n')) {
    const [device, op, value] = line.split(' ');
    if (value !== undefined && (op === 'Read' || op === 'Write')) {
      counters.set(`${device} ${op.toLowerCase()}`, BigInt(value));
    }
  }
  return counters;
}

function deviceNumber(device: string): { major: number; minor: number } {
  const [major, minor] = device.split(':');
  return { major: Number(major), minor: Number(minor) };
}

/** Undefined for an absent file and for `max`. */
function integer(text: string | undefined): bigint | undefined {
  const value = text?.trim();
  return value === undefined || value === 'max' || value === '' ? undefined : BigInt(value);
}
