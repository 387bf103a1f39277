/** Limits of the runtime spec, which speaks of version 1, as files of cgroup version 2. One function a controller. */
import { RuntimeError } from '../errors.ts';
import type { LinuxResources } from '../spec/index.ts';
import { read, write, writeOptional } from './files.ts';
import { checkUse, writeRdma } from './v1.ts';

type Apply = (folder: string, resources: LinuxResources) => void;

/** By controller. Devices have none in version 2: see devices-program.ts. */
export const applyV2: Readonly<Record<string, Apply>> = {
  memory,
  cpu,
  cpuset: (folder, { cpu }) => {
    if (cpu?.cpus) write(`${folder}/cpuset.cpus`, cpu.cpus);
    if (cpu?.mems) write(`${folder}/cpuset.mems`, cpu.mems);
  },
  pids: (folder, { pids }) => {
    if (pids) write(`${folder}/pids.max`, pids.limit > 0 ? String(pids.limit) : 'max');
  },
  io,
  hugetlb: (folder, { hugepageLimits }) => {
    for (const { pageSize, limit } of hugepageLimits ?? []) {
      write(`${folder}/hugetlb.${pageSize}.max`, String(limit));
      writeOptional(`${folder}/hugetlb.${pageSize}.rsvd.max`, String(limit));
    }
  },
  rdma: (folder, { rdma }) => writeRdma(folder, rdma),
};

/**
 * CPU weight (1 to 10000) for version 1's shares (2 to 262144), so that the minimum, the default (1024 → 100) and the
 * maximum meet: a quadratic curve through the three points on logarithmic scales, as runc and crun have it since 2025.
 * 0 stays 0, "not set".
 */
export function cpuWeight(shares: number): number {
  if (shares === 0) return 0;
  if (shares <= 2) return 1;
  if (shares >= 262_144) return 10_000;
  const log = Math.log2(shares);
  return Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34));
}

/** I/O weight (1 to 10000) for version 1's block I/O weight (10 to 1000); 0 stays 0. */
export function ioWeight(weight: number): number {
  return weight === 0 ? 0 : Math.trunc(1 + ((weight - 10) * 9999) / 990);
}

/**
 * Swap alone for version 1's "memory plus swap".
 *
 * @returns undefined to leave it as it is
 * @throws {RuntimeError} `INVALID_SPEC` when the sum is without, or below, the memory limit
 */
export function swapMax(swap: number | undefined, limit: number | undefined): string | undefined {
  if (swap === -1 || (limit === -1 && swap === undefined)) return 'max';
  if (swap === undefined || swap === 0) return undefined;
  const field = 'linux.resources.memory.swap';
  if (limit === undefined || limit <= 0) {
    throw new RuntimeError(
      'INVALID_SPEC',
      `${field} is memory plus swap, and needs a memory limit beside it`,
      { field },
    );
  }
  if (swap < limit) {
    throw new RuntimeError(
      'INVALID_SPEC',
      `${field} (${swap}) is memory plus swap, and below the limit (${limit})`,
      {
        field,
      },
    );
  }
  return String(swap - limit);
}

function memory(folder: string, { memory }: LinuxResources): void {
  if (!memory) return;
  // memory of the kernel is part of the rest, and children are part of their parents
  for (const field of ['disableOOMKiller', 'swappiness', 'kernel', 'kernelTCP', 'useHierarchy'] as const) {
    if (field === 'useHierarchy' ? memory[field] === false : memory[field]) {
      throw new RuntimeError(
        'UNSUPPORTED',
        `linux.resources.memory.${field} does not exist in cgroup version 2`,
        {
          field: `linux.resources.memory.${field}`,
        },
      );
    }
  }
  const { limit, reservation, swap } = memory;
  checkUse(memory, `${folder}/memory.current`);
  const swapLimit = swapMax(swap, limit);
  // absent when the kernel does not account for swap; then only a real limit is an error
  if (swapLimit === 'max') writeOptional(`${folder}/memory.swap.max`, swapLimit);
  else if (swapLimit !== undefined) write(`${folder}/memory.swap.max`, swapLimit);
  if (limit) write(`${folder}/memory.max`, limit < 0 ? 'max' : String(limit));
  if (reservation) write(`${folder}/memory.low`, reservation < 0 ? 'max' : String(reservation));
}

function cpu(folder: string, { cpu }: LinuxResources): void {
  if (!cpu) return;
  for (const field of ['realtimeRuntime', 'realtimePeriod'] as const) {
    if (cpu[field]) {
      throw new RuntimeError(
        'UNSUPPORTED',
        `linux.resources.cpu.${field} does not exist in cgroup version 2`,
        {
          field: `linux.resources.cpu.${field}`,
        },
      );
    }
  }
  if (cpu.idle !== undefined) write(`${folder}/cpu.idle`, String(cpu.idle));
  if (cpu.shares) write(`${folder}/cpu.weight`, String(cpuWeight(cpu.shares)));
  if (cpu.burst === 0) writeOptional(`${folder}/cpu.max.burst`, '0');
  if (cpu.quota || cpu.period) {
    // one file holds both: keep the one that is not given
    const [quota, period] = read(`${folder}/cpu.max`).trim().split(' ');
    const newQuota = cpu.quota === undefined ? quota! : cpu.quota > 0 ? String(cpu.quota) : 'max';
    write(`${folder}/cpu.max`, `${newQuota} ${cpu.period || period}`);
  }
  if (cpu.burst) write(`${folder}/cpu.max.burst`, String(cpu.burst));
}

function io(folder: string, { blockIO }: LinuxResources): void {
  if (!blockIO) return;
  const { weight, weightDevice = [] } = blockIO;
  // BFQ takes version 1's numbers; the general file has its own scale
  if (weight && !writeOptional(`${folder}/io.bfq.weight`, String(weight))) {
    write(`${folder}/io.weight`, `default ${ioWeight(weight)}`);
  }
  for (const { major, minor, weight } of weightDevice) {
    if (!weight) continue;
    const number = `${major}:${minor}`;
    if (!writeOptional(`${folder}/io.bfq.weight`, `${number} ${weight}`)) {
      write(`${folder}/io.weight`, `${number} ${ioWeight(weight)}`);
    }
  }
  const throttles = [
    [blockIO.throttleReadBpsDevice, 'rbps'],
    [blockIO.throttleWriteBpsDevice, 'wbps'],
    [blockIO.throttleReadIOPSDevice, 'riops'],
    [blockIO.throttleWriteIOPSDevice, 'wiops'],
  ] as const;
  for (const [devices, key] of throttles) {
    for (const { major, minor, rate } of devices ?? []) {
      // 0 takes a limit away, as in version 1
      write(`${folder}/io.max`, `${major}:${minor} ${key}=${rate === 0 ? 'max' : rate}`);
    }
  }
}
