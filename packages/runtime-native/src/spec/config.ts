/**
 * The OCI runtime spec (`config.json`) for Linux as zod schemas and types.
 *
 * Unknown properties are ignored, as the specification's section "Extensibility" asks.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config.md
 */
import { z } from 'zod';

import { isCapability } from './capabilities.ts';
import { linuxSchema } from './linux.ts';
import { absolutePath, id, text, uint32, uint64 } from './values.ts';

const capabilityName = z
  .string()
  .refine(isCapability, { error: (issue) => `${JSON.stringify(issue.input)} is not a capability of Linux` });

/** The five capability sets of a process. A set left out is empty. */
export const capabilitiesSchema = z.object({
  bounding: z.array(capabilityName).optional(),
  effective: z.array(capabilityName).optional(),
  inheritable: z.array(capabilityName).optional(),
  permitted: z.array(capabilityName).optional(),
  ambient: z.array(capabilityName).optional(),
});

/** Resource limits of setrlimit(2) that the spec knows. */
export const RLIMIT_TYPES = [
  'RLIMIT_CPU',
  'RLIMIT_FSIZE',
  'RLIMIT_DATA',
  'RLIMIT_STACK',
  'RLIMIT_CORE',
  'RLIMIT_RSS',
  'RLIMIT_NPROC',
  'RLIMIT_NOFILE',
  'RLIMIT_MEMLOCK',
  'RLIMIT_AS',
  'RLIMIT_LOCKS',
  'RLIMIT_SIGPENDING',
  'RLIMIT_MSGQUEUE',
  'RLIMIT_NICE',
  'RLIMIT_RTPRIO',
  'RLIMIT_RTTIME',
] as const;

/** One environment entry. A bare name would make some C libraries inherit the value, so it is refused. */
const environmentEntry = text.refine((value) => value.indexOf('=') > 0, 'must look like NAME=value');

const userSchema = z.object({
  uid: id,
  gid: id,
  umask: z.int().min(0).max(0o777).optional(),
  additionalGids: z.array(id).max(65_536).optional(),
});

/** Flags of sched_setattr(2) that the spec knows. */
const SCHEDULER_FLAGS = [
  'SCHED_FLAG_RESET_ON_FORK',
  'SCHED_FLAG_RECLAIM',
  'SCHED_FLAG_DL_OVERRUN',
  'SCHED_FLAG_KEEP_POLICY',
  'SCHED_FLAG_KEEP_PARAMS',
  'SCHED_FLAG_UTIL_CLAMP_MIN',
  'SCHED_FLAG_UTIL_CLAMP_MAX',
] as const;

/** The container's first process. */
export const processSchema = z.object({
  terminal: z.boolean().optional(),
  consoleSize: z.object({ height: uint32, width: uint32 }).optional(),
  user: userSchema,
  args: z.array(text).min(1, 'must name a program'),
  env: z.array(environmentEntry).optional(),
  cwd: absolutePath,
  capabilities: capabilitiesSchema.optional(),
  rlimits: z.array(z.object({ type: z.enum(RLIMIT_TYPES), soft: uint64, hard: uint64 })).optional(),
  noNewPrivileges: z.boolean().optional(),
  apparmorProfile: text.optional(),
  selinuxLabel: text.optional(),
  oomScoreAdj: z.int().min(-1000).max(1000).optional(),
  scheduler: z
    .object({
      policy: z.enum([
        'SCHED_OTHER',
        'SCHED_FIFO',
        'SCHED_RR',
        'SCHED_BATCH',
        'SCHED_ISO',
        'SCHED_IDLE',
        'SCHED_DEADLINE',
      ]),
      nice: z.int().min(-20).max(19).optional(),
      priority: z.int().optional(),
      flags: z.array(z.enum(SCHEDULER_FLAGS)).optional(),
      runtime: uint64.optional(),
      deadline: uint64.optional(),
      period: uint64.optional(),
    })
    .optional(),
  ioPriority: z
    .object({
      class: z.enum(['IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE', 'IOPRIO_CLASS_IDLE']),
      priority: z.int().min(0).max(7).optional(),
    })
    .optional(),
  execCPUAffinity: z.object({ initial: text.optional(), final: text.optional() }).optional(),
});

const mountIdMapping = z.array(z.object({ containerID: uint32, hostID: uint32, size: uint32.min(1) }));

/** One entry of `mounts`, done in the order given. */
export const mountSchema = z.object({
  /** Inside the container; a relative path is taken from its root. */
  destination: text.min(1),
  type: text.optional(),
  source: text.optional(),
  /** As mount(8) has them, with the spec's recursive `r…` forms. */
  options: z.array(text).optional(),
  uidMappings: mountIdMapping.optional(),
  gidMappings: mountIdMapping.optional(),
});

const hookSchema = z.object({
  path: absolutePath,
  args: z.array(text).optional(),
  env: z.array(text).optional(),
  /** Seconds. */
  timeout: z.int().min(1).optional(),
});

const hookList = z.array(hookSchema).optional();
const HOOKS = {
  prestart: hookList,
  createRuntime: hookList,
  createContainer: hookList,
  startContainer: hookList,
  poststart: hookList,
  poststop: hookList,
};

/** Kinds of hooks, in the order of a container's life. */
export const HOOK_KINDS = Object.keys(HOOKS) as readonly HookKind[];

/** `config.json`. */
export const specSchema = z.object({
  ociVersion: z.string().regex(/^1\.\d+\.\d+(?:[-+].*)?$/, 'must be a version 1.x.y'),
  root: z.object({ path: text.min(1), readonly: z.boolean().optional() }).optional(),
  process: processSchema.optional(),
  hostname: text.max(64).optional(),
  domainname: text.max(64).optional(),
  mounts: z.array(mountSchema).optional(),
  hooks: z.object(HOOKS).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  linux: linuxSchema.optional(),
});

/** `config.json` of a container, as the OCI runtime spec has it. */
export type Spec = z.infer<typeof specSchema>;
/** A kind of hooks. */
export type HookKind = keyof typeof HOOKS;
/** One hook. */
export type HookSpec = z.infer<typeof hookSchema>;
/** `process` of the spec. */
export type ProcessSpec = z.infer<typeof processSchema>;
/** `process.capabilities`. */
export type CapabilitySets = z.infer<typeof capabilitiesSchema>;
/** One entry of `mounts`. */
export type MountSpec = z.infer<typeof mountSchema>;
/** One entry of `process.rlimits`. */
export type RlimitSpec = NonNullable<ProcessSpec['rlimits']>[number];
