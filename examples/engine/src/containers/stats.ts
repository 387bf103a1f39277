/** Resource use in Docker's JSON. */
import { readFileSync } from 'node:fs';
import type { ContainerStats } from '@tare/runtime-native';

import { formatTime, ZERO_TIME } from '../time.ts';

/** Nanoseconds per tick of /proc/stat (USER_HZ is 100). */
const NS_PER_TICK = 10_000_000n;

/** What a sample of one container consists of. */
export interface StatsSample {
  stats: ContainerStats;
  host: { systemCpuNs: bigint; onlineCpus: number };
  networks: Record<string, Record<string, bigint>> | undefined;
}

/** CPU time of the whole machine, and its CPUs, from the text of /proc/stat. */
export function parseProcStat(text: string): StatsSample['host'] {
  let systemCpuNs = 0n;
  let onlineCpus = 0;
  for (const line of text.split('\n')) {
    const [name = '', ...values] = line.trim().split(/\s+/);
    // user to softirq; steal and guest are counted in them
    if (name === 'cpu') for (const value of values.slice(0, 7)) systemCpuNs += BigInt(value) * NS_PER_TICK;
    else if (/^cpu\d+$/.test(name)) onlineCpus += 1;
  }
  return { systemCpuNs, onlineCpus };
}

/** The counters of every interface but the loopback, from the text of /proc/<pid>/net/dev. */
export function parseNetDev(text: string): Record<string, Record<string, bigint>> {
  const result: Record<string, Record<string, bigint>> = {};
  for (const line of text.split('\n')) {
    const match = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (!match || match[1] === 'lo') continue;
    const values = match[2]!.trim().split(/\s+/).map(BigInt);
    const at = (index: number): bigint => values[index] ?? 0n;
    result[match[1]!] = {
      rx_bytes: at(0),
      rx_packets: at(1),
      rx_errors: at(2),
      rx_dropped: at(3),
      tx_bytes: at(8),
      tx_packets: at(9),
      tx_errors: at(10),
      tx_dropped: at(11),
    };
  }
  return result;
}

/** A sample of a running container's resources, taken now. */
export function takeSample(stats: ContainerStats, pid: number, ownNetwork: boolean): StatsSample {
  const host = parseProcStat(readFileSync('/proc/stat', 'utf8'));
  let networks: StatsSample['networks'];
  try {
    networks = ownNetwork ? parseNetDev(readFileSync(`/proc/${pid}/net/dev`, 'utf8')) : undefined;
  } catch {
    // the process ended between the two reads
    networks = undefined;
  }
  return { stats, host, networks };
}

/** Renders a sample after `previous`; without one the `pre` members are zero. */
export function renderStats(
  container: { id: string; name: string },
  sample: StatsSample | undefined,
  previous: StatsSample | undefined,
  context: { memoryTotalBytes: bigint; cgroupVersion: 1 | 2 },
): unknown {
  const head = {
    name: `/${container.name}`,
    id: container.id,
  };
  const { stats } = sample ?? {};
  const { memory } = stats ?? {};
  const v1 = context.cgroupVersion === 1;
  return {
    ...(sample?.networks && Object.keys(sample.networks).length > 0 ? { networks: sample.networks } : {}),
    read: formatTime(stats?.readAt),
    preread: previous ? formatTime(previous.stats.readAt) : ZERO_TIME,
    pids_stats: stats?.pids
      ? {
          current: stats.pids.current,
          ...(stats.pids.limit === undefined ? {} : { limit: stats.pids.limit }),
        }
      : {},
    blkio_stats: blkio(stats, v1),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpu(sample),
    precpu_stats: cpu(previous),
    memory_stats: memory
      ? {
          usage: memory.usageBytes,
          ...(memory.maxUsageBytes === undefined || !v1 ? {} : { max_usage: memory.maxUsageBytes }),
          stats: memory.stat,
          ...(memory.failures > 0n ? { failcnt: memory.failures } : {}),
          limit: memory.limitBytes ?? context.memoryTotalBytes,
        }
      : {},
    ...head,
  };
}

function cpu(sample: StatsSample | undefined): unknown {
  const use = sample?.stats.cpu;
  return {
    cpu_usage: {
      total_usage: use?.usageNs ?? 0,
      usage_in_kernelmode: use?.systemNs ?? 0,
      usage_in_usermode: use?.userNs ?? 0,
    },
    ...(sample ? { system_cpu_usage: sample.host.systemCpuNs, online_cpus: sample.host.onlineCpus } : {}),
    throttling_data: {
      periods: use?.periods ?? 0,
      throttled_periods: use?.throttledPeriods ?? 0,
      throttled_time: use?.throttledNs ?? 0,
    },
  };
}

function blkio(stats: ContainerStats | undefined, v1: boolean): unknown {
  const word = (op: 'read' | 'write'): string => (v1 ? `${op[0]!.toUpperCase()}${op.slice(1)}` : op);
  const entries = (value: (entry: NonNullable<ContainerStats['io']>[number]) => bigint): unknown[] | null => {
    const list = (stats?.io ?? []).map((entry) => ({
      major: entry.major,
      minor: entry.minor,
      op: word(entry.op),
      value: value(entry),
    }));
    return list.length > 0 || v1 ? list : null;
  };
  const none = v1 ? [] : null;
  return {
    io_service_bytes_recursive: entries(({ bytes }) => bytes),
    io_serviced_recursive: v1 ? entries(({ operations }) => operations) : null,
    io_queue_recursive: none,
    io_service_time_recursive: none,
    io_wait_time_recursive: none,
    io_merged_recursive: none,
    io_time_recursive: none,
    sectors_recursive: none,
  };
}
