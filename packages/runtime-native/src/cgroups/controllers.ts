/** Which controller each field of `linux.resources` needs. */
import type { LinuxResources } from '../spec/index.ts';

function isSet(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

/** A field, its controller in either version ('' where there is none), and whether a limit is asked for. */
export interface ControllerNeed {
  field: string;
  v1: string;
  v2: string;
  used(resources: LinuxResources): boolean;
}

function need(
  field: string,
  controllers: string | readonly [v1: string, v2: string],
  used: (resources: LinuxResources) => unknown,
): ControllerNeed {
  const [v1, v2] = typeof controllers === 'string' ? [controllers, controllers] : controllers;
  return { field, v1, v2, used: (resources) => Boolean(used(resources)) };
}

/** All but devices, which version 2 does without a controller. */
export const NEEDS: readonly ControllerNeed[] = [
  need('memory', 'memory', (r) => r.memory && Object.values(r.memory).some(Boolean)),
  need('cpu', 'cpu', ({ cpu }) => cpu?.shares || cpu?.quota || cpu?.period || cpu?.burst || cpu?.idle),
  need('cpu', 'cpu', ({ cpu }) => cpu?.realtimePeriod || cpu?.realtimeRuntime),
  need('cpu.cpus', 'cpuset', (r) => r.cpu?.cpus || r.cpu?.mems),
  need('pids', 'pids', (r) => r.pids && r.pids.limit > 0),
  need('blockIO', ['blkio', 'io'], (r) => r.blockIO && Object.values(r.blockIO).some(isSet)),
  need('hugepageLimits', 'hugetlb', (r) => r.hugepageLimits?.length),
  need('network.classID', ['net_cls', ''], (r) => r.network?.classID),
  need('network.priorities', ['net_prio', ''], (r) => r.network?.priorities?.length),
  need('rdma', 'rdma', (r) => r.rdma && Object.keys(r.rdma).length > 0),
];
