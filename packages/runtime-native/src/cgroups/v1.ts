/** Limits of the runtime spec as files of cgroup version 1. One function a controller; each gets the cgroup's folder. */
import { RuntimeError } from '../errors.ts';
import type { LinuxResources } from '../spec/index.ts';
import { read, readOptional, write, writeOptional, openFile } from './files.ts';
import type { CgroupFile } from './files.ts';

type Apply = (folder: string, resources: LinuxResources) => void;

/** By controller; a resource whose controller is not here has none in version 1. */
export const applyV1: Readonly<Record<string, Apply>> = {
  memory,
  cpu,
  cpuset,
  pids,
  blkio,
  devices,
  hugetlb,
  rdma,
  net_cls: (folder, { network }) => {
    if (network?.classID !== undefined) write(`${folder}/net_cls.classid`, String(network.classID));
  },
  net_prio: (folder, { network }) => {
    for (const { name, priority } of network?.priorities ?? []) {
      write(`${folder}/net_prio.ifpriomap`, `${name} ${priority}`);
    }
  },
};

/** Lets the kernel give those below their processors and memory nodes: each write of them looks at every cpuset. */
export function handDownCpuset(folder: string): void {
  write(`${folder}/cgroup.clone_children`, '1');
}

/**
 * A new cpuset has no processors and no memory nodes, and takes no process until it has. Copies them from the parent,
 * unless the kernel has done so.
 */
export function inheritCpuset(folder: string, parent: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (read(`${folder}/${file}`).trim() === '') write(`${folder}/${file}`, read(`${parent}/${file}`).trim());
  }
}

/**
 * A lower limit kills; the spec lets the caller ask for a look first.
 *
 * @param file that has the present use in bytes
 * @throws {RuntimeError} `INVALID_STATE` when the use is above the limit
 */
export function checkUse(memory: NonNullable<LinuxResources['memory']>, file: string): void {
  const { limit, checkBeforeUpdate } = memory;
  if (!checkBeforeUpdate || limit === undefined || limit <= 0) return;
  const usage = BigInt(read(file).trim());
  if (usage <= BigInt(limit)) return;
  const message = `the memory limit ${limit} is below the present use, ${usage} bytes`;
  throw new RuntimeError('INVALID_STATE', message, { field: 'linux.resources.memory.limit' });
}

function memory(folder: string, { memory }: LinuxResources): void {
  if (!memory) return;
  const { limit, reservation, swappiness, disableOOMKiller, useHierarchy } = memory;
  checkUse(memory, `${folder}/memory.usage_in_bytes`);
  // "unlimited memory" with limited swap cannot be meant
  const swap = limit === -1 && memory.swap === undefined ? -1 : memory.swap;
  const writeLimit = (): void => {
    if (limit !== undefined && limit !== 0) write(`${folder}/memory.limit_in_bytes`, String(limit));
  };
  const writeSwap = (): void => {
    if (swap !== undefined && swap !== 0) write(`${folder}/memory.memsw.limit_in_bytes`, String(swap));
  };
  // The kernel keeps memory ≤ memory plus swap at every moment: raise the outer limit first, lower it last.
  const current = readOptional(`${folder}/memory.memsw.limit_in_bytes`);
  if (swap !== undefined && current !== undefined && (swap === -1 || BigInt(current.trim()) < BigInt(swap))) {
    writeSwap();
    writeLimit();
  } else {
    writeLimit();
    writeSwap();
  }
  if (reservation !== undefined && reservation !== 0) {
    write(`${folder}/memory.soft_limit_in_bytes`, String(reservation));
  }
  if (useHierarchy !== undefined) write(`${folder}/memory.use_hierarchy`, useHierarchy ? '1' : '0');
  if (memory.kernel) write(`${folder}/memory.kmem.limit_in_bytes`, String(memory.kernel));
  if (memory.kernelTCP) write(`${folder}/memory.kmem.tcp.limit_in_bytes`, String(memory.kernelTCP));
  if (swappiness !== undefined) write(`${folder}/memory.swappiness`, String(swappiness));
  if (disableOOMKiller !== undefined) write(`${folder}/memory.oom_control`, disableOOMKiller ? '1' : '0');
}

function cpu(folder: string, { cpu }: LinuxResources): void {
  if (!cpu) return;
  if (cpu.idle !== undefined) write(`${folder}/cpu.idle`, String(cpu.idle));
  if (cpu.shares) write(`${folder}/cpu.shares`, String(cpu.shares));
  // The kernel checks burst ≤ quota at every write.
  if (cpu.burst === 0) writeOptional(`${folder}/cpu.cfs_burst_us`, '0');
  if (cpu.period) write(`${folder}/cpu.cfs_period_us`, String(cpu.period));
  if (cpu.quota) write(`${folder}/cpu.cfs_quota_us`, String(cpu.quota));
  if (cpu.burst) write(`${folder}/cpu.cfs_burst_us`, String(cpu.burst));
  if (cpu.realtimePeriod) write(`${folder}/cpu.rt_period_us`, String(cpu.realtimePeriod));
  if (cpu.realtimeRuntime) write(`${folder}/cpu.rt_runtime_us`, String(cpu.realtimeRuntime));
}

function cpuset(folder: string, { cpu }: LinuxResources): void {
  if (cpu?.cpus) write(`${folder}/cpuset.cpus`, cpu.cpus);
  if (cpu?.mems) write(`${folder}/cpuset.mems`, cpu.mems);
}

function pids(folder: string, { pids }: LinuxResources): void {
  if (pids) write(`${folder}/pids.max`, pids.limit > 0 ? String(pids.limit) : 'max');
}

function blkio(folder: string, { blockIO }: LinuxResources): void {
  if (!blockIO) return;
  const { weight, leafWeight, weightDevice = [] } = blockIO;
  // the proportional policy is named after the I/O scheduler: CFQ until Linux 4.20, BFQ since
  const weighted = (name: string, value: string): void => {
    if (!writeOptional(`${folder}/blkio.${name}`, value)) write(`${folder}/blkio.bfq.${name}`, value);
  };
  if (weight) weighted('weight', String(weight));
  if (leafWeight) weighted('leaf_weight', String(leafWeight));
  for (const device of weightDevice) {
    const number = `${device.major}:${device.minor}`;
    if (device.weight) weighted('weight_device', `${number} ${device.weight}`);
    if (device.leafWeight) weighted('leaf_weight_device', `${number} ${device.leafWeight}`);
  }
  const throttles = [
    [blockIO.throttleReadBpsDevice, 'read_bps_device'],
    [blockIO.throttleWriteBpsDevice, 'write_bps_device'],
    [blockIO.throttleReadIOPSDevice, 'read_iops_device'],
    [blockIO.throttleWriteIOPSDevice, 'write_iops_device'],
  ] as const;
  for (const [devices, file] of throttles) {
    for (const { major, minor, rate } of devices ?? []) {
      write(`${folder}/blkio.throttle.${file}`, `${major}:${minor} ${rate}`);
    }
  }
}

function devices(folder: string, { devices }: LinuxResources): void {
  const open = new Map<boolean, CgroupFile>();
  using stack = new DisposableStack();
  for (const rule of devices ?? []) {
    let file = open.get(rule.allow);
    if (!file)
      open.set(
        rule.allow,
        (file = stack.use(openFile(`${folder}/devices.${rule.allow ? 'allow' : 'deny'}`))),
      );
    const access = rule.access === undefined || rule.access === '' ? 'rwm' : rule.access;
    if (rule.type === undefined || rule.type === 'a') file.write('a');
    else file.write(`${rule.type} ${number(rule.major)}:${number(rule.minor)} ${access}`);
  }
}

/** The spec writes "all" as an absent number or as -1. */
function number(value: number | undefined): string {
  return value === undefined || value < 0 ? '*' : String(value);
}

function hugetlb(folder: string, { hugepageLimits }: LinuxResources): void {
  for (const { pageSize, limit } of hugepageLimits ?? []) {
    write(`${folder}/hugetlb.${pageSize}.limit_in_bytes`, String(limit));
    // reservations are counted apart since Linux 5.7
    writeOptional(`${folder}/hugetlb.${pageSize}.rsvd.limit_in_bytes`, String(limit));
  }
}

function rdma(folder: string, { rdma }: LinuxResources): void {
  writeRdma(folder, rdma);
}

/** The file is the same in both versions. */
export function writeRdma(folder: string, rdma: LinuxResources['rdma']): void {
  for (const [device, { hcaHandles, hcaObjects }] of Object.entries(rdma ?? {})) {
    const limits = [
      ...(hcaHandles === undefined ? [] : [`hca_handle=${hcaHandles}`]),
      ...(hcaObjects === undefined ? [] : [`hca_object=${hcaObjects}`]),
    ];
    if (limits.length > 0) write(`${folder}/rdma.max`, `${device} ${limits.join(' ')}`);
  }
}
