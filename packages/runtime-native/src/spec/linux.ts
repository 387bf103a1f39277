/** The `linux` object of the OCI runtime spec: namespaces, devices, resources, seccomp and the rest. */
import { z } from 'zod';

import { absolutePath, fileMode, id, int64, text, uint16, uint32, uint64 } from './values.ts';

/** Kinds of namespaces, as the spec spells them. */
export const NAMESPACE_TYPES = ['pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time'] as const;

const namespaceSchema = z.object({
  type: z.enum(NAMESPACE_TYPES),
  /** A namespace file to join; a new namespace is made when absent. */
  path: absolutePath.optional(),
});

const idMappingSchema = z.object({ containerID: uint32, hostID: uint32, size: uint32.min(1) });

const deviceSchema = z.object({
  /** `c` and `u` are character devices, `b` is a block device, `p` a FIFO. */
  type: z.enum(['c', 'b', 'u', 'p']),
  path: absolutePath,
  major: int64.optional(),
  minor: int64.optional(),
  fileMode: fileMode.optional(),
  uid: id.optional(),
  gid: id.optional(),
});

const deviceRuleSchema = z.object({
  allow: z.boolean(),
  type: z.enum(['a', 'c', 'b']).optional(),
  major: int64.optional(),
  minor: int64.optional(),
  /** Any of `r`, `w` and `m` (mknod). */
  access: z
    .string()
    .regex(/^[rwm]*$/, 'must be made of r, w and m')
    .optional(),
});

const memorySchema = z.object({
  limit: int64.optional(),
  reservation: int64.optional(),
  /** Memory plus swap. */
  swap: int64.optional(),
  kernel: int64.optional(),
  kernelTCP: int64.optional(),
  swappiness: uint64.optional(),
  disableOOMKiller: z.boolean().optional(),
  useHierarchy: z.boolean().optional(),
  checkBeforeUpdate: z.boolean().optional(),
});

const cpuSchema = z.object({
  shares: uint64.optional(),
  /** Microseconds per period; negative is unlimited. */
  quota: int64.optional(),
  /** Microseconds. */
  period: uint64.optional(),
  burst: uint64.optional(),
  realtimeRuntime: int64.optional(),
  realtimePeriod: uint64.optional(),
  cpus: text.optional(),
  mems: text.optional(),
  idle: int64.optional(),
});

const throttleSchema = z.object({ major: int64, minor: int64, rate: uint64 });

const blockIOSchema = z.object({
  weight: uint16.optional(),
  leafWeight: uint16.optional(),
  weightDevice: z
    .array(z.object({ major: int64, minor: int64, weight: uint16.optional(), leafWeight: uint16.optional() }))
    .optional(),
  throttleReadBpsDevice: z.array(throttleSchema).optional(),
  throttleWriteBpsDevice: z.array(throttleSchema).optional(),
  throttleReadIOPSDevice: z.array(throttleSchema).optional(),
  throttleWriteIOPSDevice: z.array(throttleSchema).optional(),
});

/** Cgroup limits, `linux.resources`. */
export const resourcesSchema = z.object({
  devices: z.array(deviceRuleSchema).optional(),
  memory: memorySchema.optional(),
  cpu: cpuSchema.optional(),
  /** At most so many tasks; zero and below are unlimited. */
  pids: z.object({ limit: int64 }).optional(),
  blockIO: blockIOSchema.optional(),
  hugepageLimits: z
    .array(
      z.object({
        pageSize: z.string().regex(/^[1-9][0-9]*[KMG]B$/, 'must look like 2MB'),
        limit: uint64,
      }),
    )
    .optional(),
  network: z
    .object({
      classID: uint32.optional(),
      priorities: z.array(z.object({ name: text, priority: uint32 })).optional(),
    })
    .optional(),
  rdma: z.record(text, z.object({ hcaHandles: uint32.optional(), hcaObjects: uint32.optional() })).optional(),
  /** cgroup v2 files and what to write to them. */
  unified: z.record(text, text).optional(),
});

/** What a seccomp filter can do with a system call. */
export const SECCOMP_ACTIONS = [
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_LOG',
  'SCMP_ACT_NOTIFY',
] as const;

/** How a seccomp rule compares an argument. */
export const SECCOMP_OPERATORS = [
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
] as const;

const seccompArgumentSchema = z.object({
  index: z.int().min(0).max(5),
  /** The value, or the mask for `SCMP_CMP_MASKED_EQ`. */
  value: uint64,
  /** The value under the mask. */
  valueTwo: uint64.optional(),
  op: z.enum(SECCOMP_OPERATORS),
});

/** A seccomp profile as the runtime spec has it: architecture and capability conditions already resolved. */
export const seccompSchema = z.object({
  defaultAction: z.enum(SECCOMP_ACTIONS),
  defaultErrnoRet: uint16.optional(),
  /** `SCMP_ARCH_X86_64`, … */
  architectures: z
    .array(z.string().regex(/^SCMP_ARCH_[A-Z0-9_]+$/, 'must look like SCMP_ARCH_X86_64'))
    .optional(),
  flags: z
    .array(
      z.enum([
        'SECCOMP_FILTER_FLAG_TSYNC',
        'SECCOMP_FILTER_FLAG_LOG',
        'SECCOMP_FILTER_FLAG_SPEC_ALLOW',
        'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV',
      ]),
    )
    .optional(),
  listenerPath: absolutePath.optional(),
  listenerMetadata: text.optional(),
  syscalls: z
    .array(
      z.object({
        names: z.array(z.string().min(1)).min(1),
        action: z.enum(SECCOMP_ACTIONS),
        errnoRet: uint16.optional(),
        args: z.array(seccompArgumentSchema).optional(),
      }),
    )
    .optional(),
});

const sysctlName = z
  .string()
  .regex(/^[A-Za-z0-9_-]+([./][A-Za-z0-9_:@-]+)+$/, 'must look like net.ipv4.ip_forward');

/** Modes of set_mempolicy(2). */
const MEMORY_POLICIES = [
  'MPOL_DEFAULT',
  'MPOL_BIND',
  'MPOL_INTERLEAVE',
  'MPOL_WEIGHTED_INTERLEAVE',
  'MPOL_PREFERRED',
  'MPOL_PREFERRED_MANY',
  'MPOL_LOCAL',
] as const;
const MEMORY_POLICY_FLAGS = [
  'MPOL_F_NUMA_BALANCING',
  'MPOL_F_RELATIVE_NODES',
  'MPOL_F_STATIC_NODES',
] as const;

/** `linux` of the runtime spec. */
export const linuxSchema = z.object({
  namespaces: z.array(namespaceSchema).optional(),
  uidMappings: z.array(idMappingSchema).optional(),
  gidMappings: z.array(idMappingSchema).optional(),
  timeOffsets: z
    .partialRecord(
      z.enum(['monotonic', 'boottime']),
      z.object({ secs: int64.optional(), nanosecs: uint32.optional() }),
    )
    .optional(),
  devices: z.array(deviceSchema).optional(),
  cgroupsPath: text.optional(),
  resources: resourcesSchema.optional(),
  rootfsPropagation: z.enum(['shared', 'slave', 'private', 'unbindable']).optional(),
  seccomp: seccompSchema.optional(),
  sysctl: z.record(sysctlName, text).optional(),
  maskedPaths: z.array(absolutePath).optional(),
  readonlyPaths: z.array(absolutePath).optional(),
  mountLabel: text.optional(),
  personality: z.object({ domain: z.enum(['LINUX', 'LINUX32']), flags: z.array(text).optional() }).optional(),
  intelRdt: z
    .object({
      closID: text.optional(),
      l3CacheSchema: text.optional(),
      memBwSchema: text.regex(/^MB:[^\n]*$/, 'must be one line that begins with MB:').optional(),
      schemata: z.array(text).optional(),
      enableMonitoring: z.boolean().optional(),
    })
    .optional(),
  memoryPolicy: z
    .object({
      mode: z.enum(MEMORY_POLICIES),
      nodes: text.optional(),
      flags: z.array(z.enum(MEMORY_POLICY_FLAGS)).optional(),
    })
    .optional(),
  netDevices: z.record(text, z.object({ name: text.optional() })).optional(),
});

/** One entry of `linux.namespaces`. */
export type NamespaceSpec = z.infer<typeof namespaceSchema>;
/** One entry of `linux.devices`. */
export type DeviceSpec = z.infer<typeof deviceSchema>;
/** One entry of `linux.uidMappings` and `linux.gidMappings`. */
export type IdMapping = z.infer<typeof idMappingSchema>;
/** `linux.resources`. */
export type LinuxResources = z.infer<typeof resourcesSchema>;
/** `linux.seccomp`. */
export type LinuxSeccomp = z.infer<typeof seccompSchema>;
/** `linux`. */
export type LinuxSpec = z.infer<typeof linuxSchema>;
