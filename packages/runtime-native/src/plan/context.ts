/** What the compiler of launch plans has to know of the machine, given to it as data so that it stays pure. */
import type { RuntimeError } from '../errors.ts';
import type { Mount, StdioOptions } from '../runtime.ts';
import type { DeviceSpec } from '../spec/linux.ts';
import type { HookSubject } from './hooks.ts';

/** Where the container's process is put, and what it sees of its cgroups. */
export interface CgroupPlacement {
  /** `tasks` files of version 1, one per hierarchy, which the process writes itself into. */
  tasks: string[];
  /** Directory of version 2 in which the process is born. */
  birth: string | undefined;
  /** File that counts OOM kills: `memory.events` or `memory.oom_control`. */
  oomEvents: string | undefined;
  /** Only version 2 is mounted, at /sys/fs/cgroup. */
  unified: boolean;
  /** Otherwise: the container's own directory of each hierarchy, by its name below /sys/fs/cgroup. */
  hierarchies: { name: string; directory: string; links: string[] }[];
}

/** A compiled seccomp filter. */
export interface SeccompFilter {
  /** SECCOMP_FILTER_FLAG_… bits. */
  flags: number;
  /** Classic BPF, 8 bytes an instruction. */
  program: Uint8Array;
  /** Whether a process can wait at the gate with it: it lets through whatever comes until the program is executed. */
  early?: boolean;
}

/** Which security modules of the kernel are on: labels of others are refused. */
export interface SecurityModules {
  apparmor: boolean;
  selinux: boolean;
}

/** Who makes the container. */
export interface Caller {
  uid: number;
  gid: number;
  /** Whether it has CAP_SYS_ADMIN; without, everything has to be done inside a user namespace. */
  privileged: boolean;
  /** Capabilities that it has: more cannot be given, but in a user namespace. */
  capabilities: bigint;
  /** Absolute paths of newuidmap and newgidmap, where they are installed. */
  idTools: { uid: string; gid: string } | undefined;
  /** The path of a device node of this machine with the numbers of `device`. */
  findDevice(device: DeviceSpec): string | undefined;
}

/** Input of {@link compileContainer} and {@link compileExec} besides the spec. */
export interface PlanContext {
  /** An existing directory that may be mounted over in the new mount namespace: the state directory. */
  scratch: string;
  /** As {@link CreateOptions} has them. */
  lookUp?: boolean | undefined;
  pivot?: boolean | undefined;
  newKeyring?: boolean | undefined;
  /** Mounts that make up the root; `spec.root.path` otherwise. */
  rootfs: readonly Mount[] | undefined;
  stdio: StdioOptions;
  /** What hooks are told. */
  subject: HookSubject;
  cgroups: CgroupPlacement | undefined;
  seccomp: SeccompFilter | undefined;
  caller: Caller;
  securityModules: SecurityModules;
  /** Told what the container will have to do without. */
  warn(warning: RuntimeError): void;
}
