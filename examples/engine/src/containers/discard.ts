/** Limits that this machine's kernel cannot keep: they are dropped, and the client is told. */
import type { HostConfig, Resources } from './host-config.ts';

/** What the cgroups of this machine can limit. */
export interface SupportedLimits {
  memory: boolean;
  swap: boolean;
  swappiness: boolean;
  reservation: boolean;
  oomKillDisable: boolean;
  pids: boolean;
  shares: boolean;
  cpu: boolean;
  cpuset: boolean;
  blkioWeight: boolean;
  blkioWeightDevice: boolean;
  blkioThrottle: boolean;
}

/** A limit, whether it was asked for, what cannot keep it, and what dockerd says then. */
interface Rule {
  keys: readonly (keyof Resources)[];
  needs: keyof SupportedLimits;
  warning: string;
  /** Also for a value that asks for nothing. */
  when?: (value: Resources) => boolean;
}

const noCgroup = (what: string, end: string): string =>
  `Your kernel does not support ${what} or the cgroup is not mounted. ${end}`;

const RULES: readonly Rule[] = [
  {
    keys: ['Memory', 'MemorySwap'],
    needs: 'memory',
    warning: noCgroup('memory limit capabilities', 'Limitation discarded.'),
    when: ({ Memory = 0 }) => Memory > 0,
  },
  {
    keys: ['MemorySwap'],
    needs: 'swap',
    warning: noCgroup('swap limit capabilities', 'Memory limited without swap.'),
    when: ({ Memory = 0, MemorySwap = 0 }) => Memory > 0 && MemorySwap !== -1,
  },
  {
    keys: ['MemorySwappiness'],
    needs: 'swappiness',
    warning: noCgroup('memory swappiness capabilities', 'Memory swappiness discarded.'),
    when: ({ MemorySwappiness }) => MemorySwappiness !== undefined,
  },
  {
    keys: ['MemoryReservation'],
    needs: 'reservation',
    warning: noCgroup('memory soft limit capabilities', 'Limitation discarded.'),
  },
  {
    keys: ['OomKillDisable'],
    needs: 'oomKillDisable',
    warning: 'Your kernel does not support OomKillDisable. OomKillDisable discarded.',
  },
  {
    keys: ['PidsLimit'],
    needs: 'pids',
    warning: noCgroup('PIDs limit capabilities', 'PIDs limit discarded.'),
  },
  { keys: ['CpuShares'], needs: 'shares', warning: noCgroup('CPU shares', 'Shares discarded.') },
  {
    keys: ['CpuPeriod', 'CpuQuota'],
    needs: 'cpu',
    warning: 'Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.',
  },
  { keys: ['CpusetCpus', 'CpusetMems'], needs: 'cpuset', warning: noCgroup('cpuset', 'Cpuset discarded.') },
  { keys: ['BlkioWeight'], needs: 'blkioWeight', warning: noCgroup('Block I/O weight', 'Weight discarded.') },
  {
    keys: ['BlkioWeightDevice'],
    needs: 'blkioWeightDevice',
    warning: noCgroup('Block I/O weight_device', 'Weight-device discarded.'),
  },
  ...(
    [
      ['BlkioDeviceReadBps', 'BPS Block I/O read limit', 'Block I/O BPS read limit discarded.'],
      ['BlkioDeviceWriteBps', 'BPS Block I/O write limit', 'Block I/O BPS write limit discarded.'],
      ['BlkioDeviceReadIOps', 'IOPS Block read limit', 'Block I/O IOPS read limit discarded.'],
      ['BlkioDeviceWriteIOps', 'IOPS Block write limit', 'Block I/O IOPS write limit discarded.'],
    ] as const
  ).map(([key, what, end]): Rule => ({ keys: [key], needs: 'blkioThrottle', warning: noCgroup(what, end) })),
];

/** The limits without those that cannot be kept, and the warnings about them. Pure. */
export function discardUnsupported<T extends Resources>(
  limits: T,
  supported: SupportedLimits,
): { limits: T; warnings: string[] } {
  const kept: T = { ...limits };
  const warnings: string[] = [];
  for (const { keys, needs, warning, when = asksFor(keys) } of RULES) {
    if (supported[needs] || !when(kept)) continue;
    warnings.push(warning);
    for (const key of keys) delete kept[key];
    if (needs === 'swap') kept.MemorySwap = -1;
  }
  if (kept.OomKillDisable && !kept.Memory) {
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running ' +
        'out of resources.',
    );
  }
  return { limits: kept, warnings };
}

function asksFor(keys: readonly (keyof Resources)[]): (value: Resources) => boolean {
  return (value) =>
    keys.some((key) => {
      const item = value[key];
      if (Array.isArray(item)) return item.length > 0;
      return typeof item === 'number' ? item > 0 : Boolean(item);
    });
}

/** What a client asks for that has no effect, besides limits. Pure. */
export function withoutEffect(host: HostConfig): string[] {
  const warnings: string[] = [];
  if (host.NetworkMode === 'host' && Object.keys(host.PortBindings ?? {}).length > 0) {
    warnings.push('Published ports are discarded when using host network mode');
  }
  if ((host.CpuPercent ?? 0) > 0) warnings.push('linux does not support CPU percent. Percent discarded.');
  return warnings;
}
