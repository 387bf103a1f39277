import { describe, expect, it } from 'vitest';

import { parseNetDev, parseProcStat, renderStats } from '../../src/containers/stats.ts';
import { topColumns, topTable } from '../../src/containers/top.ts';

describe('parseProcStat', () => {
  it('adds the first seven fields in nanoseconds, and counts CPUs', () => {
    const text = 'cpu  1 2 3 4 5 6 7 100 0 0\ncpu0 1 0 0\ncpu1 0 0 0\nintr 5\n';
    expect(parseProcStat(text)).toEqual({ systemCpuNs: 280_000_000n, onlineCpus: 2 });
  });
});

describe('parseNetDev', () => {
  it('reads every interface but the loopback', () => {
    const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0
  eth0:    1086       9    1    2    0     0          0         0      500       4    3    5    0     0       0          0
`;
    expect(parseNetDev(text)).toEqual({
      eth0: {
        rx_bytes: 1086n,
        rx_packets: 9n,
        rx_errors: 1n,
        rx_dropped: 2n,
        tx_bytes: 500n,
        tx_packets: 4n,
        tx_errors: 3n,
        tx_dropped: 5n,
      },
    });
  });
});

describe('renderStats', () => {
  const context = { memoryTotalBytes: 1000n, cgroupVersion: 2 as const };
  const sample = {
    stats: {
      readAt: new Date('2026-01-01T00:00:01Z'),
      cpu: { usageNs: 5n, userNs: 3n, systemNs: 2n, periods: 0n, throttledPeriods: 0n, throttledNs: 0n },
      memory: {
        usageBytes: 10n,
        limitBytes: undefined,
        maxUsageBytes: undefined,
        failures: 0n,
        stat: { inactive_file: 4n },
      },
      pids: { current: 1, limit: undefined },
      io: [{ major: 8, minor: 0, op: 'read' as const, bytes: 512n, operations: 1n }],
    },
    host: { systemCpuNs: 2n ** 60n, onlineCpus: 2 },
    networks: undefined,
  };

  it('fills in the sample before, when there is one', () => {
    const json = renderStats({ id: 'i', name: 'n' }, sample, sample, context) as Record<string, object>;
    expect(json).toMatchObject({
      name: '/n',
      read: '2026-01-01T00:00:01Z',
      preread: '2026-01-01T00:00:01Z',
      cpu_stats: { cpu_usage: { total_usage: 5n }, system_cpu_usage: 2n ** 60n, online_cpus: 2 },
      memory_stats: { usage: 10n, limit: 1000n, stats: { inactive_file: 4n } },
      blkio_stats: { io_service_bytes_recursive: [{ major: 8, minor: 0, op: 'read', value: 512n }] },
    });
    expect(renderStats({ id: 'i', name: 'n' }, sample, undefined, context)).toMatchObject({
      preread: '0001-01-01T00:00:00Z',
      precpu_stats: { cpu_usage: { total_usage: 0 } },
    });
  });

  it('is all zero for a container that does not run', () => {
    expect(renderStats({ id: 'i', name: 'n' }, undefined, undefined, context)).toMatchObject({
      id: 'i',
      read: '0001-01-01T00:00:00Z',
      pids_stats: {},
      memory_stats: {},
    });
  });
});

describe('top', () => {
  it('shows this very process as ps -ef would', () => {
    const { Titles, Processes } = topTable([process.pid], '');
    expect(Titles).toEqual(['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD']);
    expect(Processes).toHaveLength(1);
    expect(Processes[0]![1]).toBe(String(process.pid));
    expect(Processes[0]![2]).toBe(String(process.ppid));
    expect(Processes[0]![7]).toContain('node');
  });

  it.each([
    ['-o pid,comm', ['PID', 'COMMAND']],
    ['-eo pid -o user', ['PID', 'USER']],
    ['aux', ['USER', 'PID', '%CPU', '%MEM', 'VSZ', 'RSS', 'TTY', 'STAT', 'START', 'TIME', 'COMMAND']],
    ['-e', ['PID', 'TTY', 'TIME', 'COMMAND']],
  ])('%s', (psArgs, titles) => {
    expect(topColumns(psArgs).map(({ title }) => title)).toEqual(titles);
  });

  it('needs the PID, and refuses what it does not know', () => {
    expect(() => topColumns('-o comm')).toThrow("Couldn't find PID field in ps output");
    expect(() => topColumns('-o pid,nosuch')).toThrow('nosuch');
    expect(() => topColumns('--forest')).toThrow('--forest');
  });

  it('leaves out processes that have ended', () => {
    expect(topTable([2 ** 22 + 1], '').Processes).toEqual([]);
  });
});
