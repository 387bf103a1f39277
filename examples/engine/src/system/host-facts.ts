/** What the machine is, read once: everything here stays the same while it runs. */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { arch, availableParallelism, hostname, release, totalmem } from 'node:os';

/** `CGROUP2_SUPER_MAGIC` of `<linux/magic.h>`. */
const CGROUP2_MAGIC = 0x63677270;

/** Resource controllers containers can be limited with. */
export interface CgroupFacts {
  version: '1' | '2';
  memory: boolean;
  swap: boolean;
  cpu: boolean;
  cpuset: boolean;
  pids: boolean;
  /** v1 only. */
  swappiness: boolean;
  reservation: boolean;
  shares: boolean;
  blkioWeight: boolean;
  blkioWeightDevice: boolean;
  blkioThrottle: boolean;
  /** v1 only. */
  oomKillDisable: boolean;
  kernelMemoryTcp: boolean;
}

/** The machine. */
export interface HostFacts {
  name: string;
  /** `uname -m`: `x86_64`. */
  machine: string;
  /** Go's name of the same: `amd64`. */
  architecture: string;
  kernelVersion: string;
  operatingSystem: string;
  osVersion: string;
  cpus: number;
  memoryBytes: number;
  cgroup: CgroupFacts;
  cgroupNamespaces: boolean;
}

/** Node's names of processors → Go's and the kernel's. */
const ARCHITECTURES: Readonly<Record<string, readonly [go: string, machine: string]>> = {
  x64: ['amd64', 'x86_64'],
  arm64: ['arm64', 'aarch64'],
  arm: ['arm', 'armv7l'],
  ia32: ['386', 'i686'],
  ppc64: ['ppc64le', 'ppc64le'],
  s390x: ['s390x', 's390x'],
  riscv64: ['riscv64', 'riscv64'],
};

/** Reads the machine. */
export function readHostFacts(): HostFacts {
  const [architecture, machine] = ARCHITECTURES[arch()] ?? [arch(), arch()];
  const release_ = osRelease();
  return {
    name: hostname(),
    machine,
    architecture,
    kernelVersion: release(),
    operatingSystem: release_['PRETTY_NAME'] ?? release_['NAME'] ?? 'Linux',
    osVersion: release_['VERSION_ID'] ?? '',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    cgroup: readCgroupFacts(),
    cgroupNamespaces: existsSync('/proc/self/ns/cgroup'),
  };
}

function osRelease(): Record<string, string> {
  const text = readIfThere('/etc/os-release') || readIfThere('/usr/lib/os-release');
  return Object.fromEntries(
    [...text.matchAll(/^(\w+)=(?:"(.*)"|'(.*)'|(.*))$/gm)].map(([, key, double, single, bare]) => [
      key!,
      double ?? single ?? bare ?? '',
    ]),
  );
}

/** What containers can be limited with. */
export function readCgroupFacts(): CgroupFacts {
  const unified = existsSync('/sys/fs/cgroup') && statfsSync('/sys/fs/cgroup').type === CGROUP2_MAGIC;
  const controllers = unified
    ? new Set(readIfThere('/sys/fs/cgroup/cgroup.controllers').trim().split(/\s+/))
    : new Set(
        // name, hierarchy, number of cgroups, enabled
        [...readIfThere('/proc/cgroups').matchAll(/^([a-z_]+)\s+\d+\s+\d+\s+1$/gm)].map(([, name]) => name!),
      );
  const v1 = (controller: string, file: string): boolean =>
    !unified && existsSync(`/sys/fs/cgroup/${controller}/${file}`);
  const v1Weight = (suffix: string): boolean =>
    v1('blkio', `blkio.weight${suffix}`) || v1('blkio', `blkio.bfq.weight${suffix}`);
  return {
    version: unified ? '2' : '1',
    memory: controllers.has('memory'),
    swap: unified ? controllers.has('memory') : v1('memory', 'memory.memsw.limit_in_bytes'),
    cpu: unified ? controllers.has('cpu') : v1('cpu', 'cpu.cfs_quota_us'),
    cpuset: controllers.has('cpuset'),
    pids: controllers.has('pids'),
    swappiness: v1('memory', 'memory.swappiness'),
    reservation: unified ? controllers.has('memory') : v1('memory', 'memory.soft_limit_in_bytes'),
    shares: unified ? controllers.has('cpu') : v1('cpu', 'cpu.shares'),
    blkioWeight: unified ? controllers.has('io') : v1Weight(''),
    blkioWeightDevice: unified ? controllers.has('io') : v1Weight('_device'),
    blkioThrottle: unified ? controllers.has('io') : v1('blkio', 'blkio.throttle.read_bps_device'),
    oomKillDisable: v1('memory', 'memory.oom_control'),
    kernelMemoryTcp: v1('memory', 'memory.kmem.tcp.limit_in_bytes'),
  };
}

/** The text of a file; empty when it is not there. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
