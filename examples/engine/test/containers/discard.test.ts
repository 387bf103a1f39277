import { describe, expect, it } from 'vitest';
import { discardUnsupported, withoutEffect, type SupportedLimits } from '../../src/containers/discard.ts';

const all: SupportedLimits = {
  memory: true,
  swap: true,
  swappiness: true,
  reservation: true,
  oomKillDisable: true,
  pids: true,
  shares: true,
  cpu: true,
  cpuset: true,
  blkioWeight: true,
  blkioWeightDevice: true,
  blkioThrottle: true,
};
const wanted = {
  Memory: 2 ** 28,
  MemorySwap: 2 ** 29,
  MemorySwappiness: 0,
  MemoryReservation: 2 ** 27,
  OomKillDisable: true,
  PidsLimit: 9,
  CpuShares: 2,
  CpuQuota: 5000,
  CpusetCpus: '0',
  BlkioWeight: 100,
  BlkioWeightDevice: [{ Path: '/dev/x', Weight: 100 }],
  BlkioDeviceReadBps: [{ Path: '/dev/x', Rate: 1 }],
};

describe('limits that the kernel cannot keep', () => {
  it('are all kept where it can', () => {
    expect(discardUnsupported(wanted, all)).toEqual({ limits: wanted, warnings: [] });
  });

  it.for<[keyof SupportedLimits, string, Partial<typeof wanted>]>([
    ['swappiness', 'memory swappiness capabilities', { MemorySwappiness: undefined }],
    ['reservation', 'memory soft limit capabilities', { MemoryReservation: undefined }],
    ['oomKillDisable', 'does not support OomKillDisable', { OomKillDisable: undefined }],
    ['pids', 'PIDs limit capabilities', { PidsLimit: undefined }],
    ['shares', 'CPU shares', { CpuShares: undefined }],
    ['cpu', 'CPU CFS scheduler', { CpuQuota: undefined }],
    ['cpuset', 'cpuset', { CpusetCpus: undefined }],
    ['blkioWeight', 'Block I/O weight', { BlkioWeight: undefined }],
    ['blkioWeightDevice', 'Block I/O weight_device', { BlkioWeightDevice: undefined }],
    ['blkioThrottle', 'BPS Block I/O read limit', { BlkioDeviceReadBps: undefined }],
    ['swap', 'Memory limited without swap', { MemorySwap: -1 }],
  ])('are dropped with a warning: %s', ([missing, warning, change]) => {
    const { limits, warnings } = discardUnsupported(wanted, { ...all, [missing]: false });
    expect(warnings).toEqual([expect.stringContaining(warning)]);
    expect({ ...limits }).toEqual(JSON.parse(JSON.stringify({ ...wanted, ...change })));
  });

  it('say nothing of what was not asked for', () => {
    const none = Object.fromEntries(
      Object.keys(all).map((key) => [key, false]),
    ) as unknown as SupportedLimits;
    expect(discardUnsupported({ Memory: 0, PidsLimit: -1, OomKillDisable: false }, none).warnings).toEqual(
      [],
    );
  });
});

it('ports that are published on the host network are said to be', () => {
  expect(withoutEffect({ NetworkMode: 'host', PortBindings: { '80/tcp': [] } })).toEqual([
    'Published ports are discarded when using host network mode',
  ]);
  expect(withoutEffect({ NetworkMode: 'bridge', PortBindings: { '80/tcp': [] } })).toEqual([]);
});
