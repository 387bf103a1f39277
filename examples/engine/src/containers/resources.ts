/** `HostConfig` limits → the runtime spec's `resources` and `rlimits`. Pure. */
import type { DeviceSpec, LinuxResources, RlimitSpec } from '@tare/runtime-native/spec';
import { RLIMIT_TYPES, defaultDeviceRules } from '@tare/runtime-native/spec';

import { invalid } from '../errors.ts';
import type { HostConfig, Resources } from './host-config.ts';

/** The kernel's default scheduling period, in microseconds; `NanoCpus` is measured in it. */
const CPU_PERIOD_US = 100_000;

/** Looks up the numbers of a device node on the host. */
export type DeviceNumbers = (path: string) => { major: number; minor: number };

type DeviceRules = NonNullable<LinuxResources['devices']>;

/**
 * The cgroup limits, without device rules.
 *
 * @param deviceNumbers - for the block devices that I/O limits name
 */
export function cgroupResources(host: Resources, deviceNumbers: DeviceNumbers): LinuxResources {
  const resources: LinuxResources = {};
  const memory: NonNullable<LinuxResources['memory']> = {};
  if (host.Memory) memory.limit = host.Memory;
  if (host.MemoryReservation) memory.reservation = host.MemoryReservation;
  if (host.MemorySwap) memory.swap = host.MemorySwap;
  if (host.MemorySwappiness !== undefined && host.MemorySwappiness >= 0) {
    memory.swappiness = host.MemorySwappiness;
  }
  if (host.OomKillDisable) memory.disableOOMKiller = true;
  if (Object.keys(memory).length > 0) resources.memory = memory;

  const cpu: NonNullable<LinuxResources['cpu']> = {};
  if (host.CpuShares) cpu.shares = host.CpuShares;
  if (host.NanoCpus) {
    cpu.period = CPU_PERIOD_US;
    cpu.quota = Math.round((host.NanoCpus * CPU_PERIOD_US) / 1e9);
  } else {
    if (host.CpuPeriod) cpu.period = host.CpuPeriod;
    if (host.CpuQuota) cpu.quota = host.CpuQuota;
  }
  if (host.CpuRealtimePeriod) cpu.realtimePeriod = host.CpuRealtimePeriod;
  if (host.CpuRealtimeRuntime) cpu.realtimeRuntime = host.CpuRealtimeRuntime;
  if (host.CpusetCpus) cpu.cpus = host.CpusetCpus;
  if (host.CpusetMems) cpu.mems = host.CpusetMems;
  if (Object.keys(cpu).length > 0) resources.cpu = cpu;

  if (host.PidsLimit !== undefined) {
    // zero and below lift the limit
    resources.pids = { limit: host.PidsLimit > 0 ? host.PidsLimit : -1 };
  }

  const io: NonNullable<LinuxResources['blockIO']> = {};
  if (host.BlkioWeight) io.weight = host.BlkioWeight;
  if (host.BlkioWeightDevice?.length) {
    io.weightDevice = host.BlkioWeightDevice.map(({ Path = '', Weight = 0 }) => ({
      ...deviceNumbers(Path),
      weight: Weight,
    }));
  }
  for (const [from, to] of [
    ['BlkioDeviceReadBps', 'throttleReadBpsDevice'],
    ['BlkioDeviceWriteBps', 'throttleWriteBpsDevice'],
    ['BlkioDeviceReadIOps', 'throttleReadIOPSDevice'],
    ['BlkioDeviceWriteIOps', 'throttleWriteIOPSDevice'],
  ] as const) {
    const list = host[from];
    if (list?.length)
      io[to] = list.map(({ Path = '', Rate = 0 }) => ({ ...deviceNumbers(Path), rate: Rate }));
  }
  if (Object.keys(io).length > 0) resources.blockIO = io;
  return resources;
}

/** The device rules: everything when privileged, else the default few, the container's own devices and rules. */
export function deviceRules(
  host: Pick<HostConfig, 'Privileged' | 'DeviceCgroupRules' | 'Devices'>,
  devices: readonly (DeviceSpec & { access?: string })[],
): DeviceRules {
  if (host.Privileged) return [{ allow: true, access: 'rwm' }];
  const rules = defaultDeviceRules();
  for (const { type, major, minor, access = 'rwm' } of devices) {
    if (type === 'p') continue;
    rules.push({
      allow: true,
      type: type === 'b' ? 'b' : 'c',
      ...(major === undefined ? {} : { major }),
      ...(minor === undefined ? {} : { minor }),
      access,
    });
  }
  for (const rule of host.DeviceCgroupRules ?? []) rules.push(parseDeviceRule(rule));
  return rules;
}

/** Parses `c 10:200 rwm`; `*` means any number. @throws {EngineError} `INVALID` */
export function parseDeviceRule(text: string): DeviceRules[number] {
  const match = /^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.exec(text);
  if (!match) throw invalid(`invalid device cgroup rule format: '${text}'`);
  const [, type, major, minor, access] = match;
  return {
    allow: true,
    type: type as 'a' | 'b' | 'c',
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
    access: access!,
  };
}

/** What systemd gives services: plenty for the hard limit, and a soft one that select(2) can bear. */
const DEFAULT_NOFILE = { soft: 1024, hard: 524_288 };
/** RLIM_INFINITY, as near as a double comes from below. */
const UNLIMITED = 18_446_744_073_709_549_568;

/**
 * The limits of setrlimit(2). Open files always have one: this process's own, which children would inherit, was raised
 * by Node.
 *
 * @param openFilesMax - the hard limit of this process, which only the mightiest may exceed
 * @throws {EngineError} `INVALID` for an unknown name, or a soft limit above the hard one
 */
export function rlimits(host: Pick<HostConfig, 'Ulimits'>, openFilesMax: number): RlimitSpec[] {
  const result = (host.Ulimits ?? []).map(({ Name: name = '', Soft: soft = 0, Hard: hard = 0 }) => {
    const type = RLIMIT_TYPES.find((known) => known === `RLIMIT_${name.toUpperCase()}`);
    if (!type) throw invalid(`invalid ulimit type: ${name}`);
    if (hard >= 0 && (soft > hard || soft < 0)) {
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
    }
    return { type, soft: soft < 0 ? UNLIMITED : soft, hard: hard < 0 ? UNLIMITED : hard };
  });
  if (result.some(({ type }) => type === 'RLIMIT_NOFILE')) return result;
  const hard = Math.min(DEFAULT_NOFILE.hard, openFilesMax);
  return [...result, { type: 'RLIMIT_NOFILE', soft: Math.min(DEFAULT_NOFILE.soft, hard), hard }];
}
