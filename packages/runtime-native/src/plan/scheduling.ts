/**
 * The part of a plan that decides how the kernel treats the process: its share of processor and disk, the memory nodes
 * it takes from, its clocks, its security label, the personality of its system calls.
 */
import type { ProcessSpec, Spec } from '../spec/config.ts';
import type { LinuxSpec } from '../spec/linux.ts';
import type { SecurityModules } from './context.ts';
import type { Operation } from './operations.ts';
import { invalid, missing, unsupported } from './validate.ts';

const POLICIES = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
} as const;

const SCHEDULER_FLAGS = {
  SCHED_FLAG_RESET_ON_FORK: 0x01n,
  SCHED_FLAG_RECLAIM: 0x02n,
  SCHED_FLAG_DL_OVERRUN: 0x04n,
  SCHED_FLAG_KEEP_POLICY: 0x08n,
  SCHED_FLAG_KEEP_PARAMS: 0x10n,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20n,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40n,
} as const;

const IO_CLASSES = { IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3 } as const;
/** ioprio_set(2) keeps the class above 13 bits of priority. */
const IO_CLASS_SHIFT = 13;

const MEMORY_POLICIES = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
} as const;

const MEMORY_POLICY_FLAGS = {
  MPOL_F_NUMA_BALANCING: 1 << 13,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_STATIC_NODES: 1 << 15,
} as const;

/** Of personality(2), by the kernel's names: the specification has none of its own yet. */
const PERSONALITY_FLAGS = new Map(
  Object.entries({
    UNAME26: 0x0020000,
    ADDR_NO_RANDOMIZE: 0x0040000,
    FDPIC_FUNCPTRS: 0x0080000,
    MMAP_PAGE_ZERO: 0x0100000,
    ADDR_COMPAT_LAYOUT: 0x0200000,
    READ_IMPLIES_EXEC: 0x0400000,
    ADDR_LIMIT_32BIT: 0x0800000,
    SHORT_INODE: 0x1000000,
    WHOLE_SECONDS: 0x2000000,
    STICKY_TIMEOUTS: 0x4000000,
    ADDR_LIMIT_3GB: 0x8000000,
  }),
);

const PERSONAS = { LINUX: 0, LINUX32: 8 } as const;

/** What the kernel can be told about at most; a list such as `0-4294967295` is a mistake or an attack. */
const MAX_CPUS = 8192;
const MAX_NODES = 1024;

/**
 * A list such as `0-3,7` as a bit mask, lowest number in the lowest bit of the first byte.
 *
 * @throws {RuntimeError} `INVALID_SPEC` when it is no list of numbers below `limit`
 */
export function parseBitList(list: string, limit: number, field: string): Uint8Array {
  const mask = new Uint8Array(limit / 8);
  let highest = 0;
  for (const part of list.split(',')) {
    const range = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
    const first = Number(range?.[1]);
    const last = Number(range?.[2] ?? range?.[1]);
    if (!range || last < first || last >= limit) {
      throw invalid(field, `${JSON.stringify(list)} is no list such as 0-3,7 of numbers below ${limit}`);
    }
    for (let bit = first; bit <= last; bit++) mask[bit >> 3]! |= 1 << (bit & 7);
    highest = Math.max(highest, last);
  }
  // whole 64-bit words, which the kernel reads
  return mask.slice(0, Math.ceil((highest + 1) / 64) * 8);
}

function* schedulerOperations({ scheduler }: ProcessSpec): Generator<Operation> {
  if (!scheduler) return;
  const field = 'process.scheduler';
  const { policy, nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0 } = scheduler;
  // the kernel reserves the number and implements nothing
  if (policy === 'SCHED_ISO') throw unsupported(`${field}.policy`);
  const realtime = policy === 'SCHED_FIFO' || policy === 'SCHED_RR';
  if (realtime ? priority < 1 || priority > 99 : priority !== 0) {
    throw invalid(`${field}.priority`, `must be ${realtime ? '1 to 99' : '0'} for ${policy}`);
  }
  if (policy === 'SCHED_DEADLINE') {
    if (runtime < 1024 || runtime > deadline || (period !== 0 && deadline > period)) {
      throw invalid(field, 'needs 1024 <= runtime <= deadline <= period, in nanoseconds');
    }
  } else if (runtime || deadline || period) {
    throw invalid(field, `runtime, deadline and period are for SCHED_DEADLINE, not for ${policy}`);
  }
  const flags = (scheduler.flags ?? []).reduce((bits, flag) => bits | SCHEDULER_FLAGS[flag], 0n);
  const times = [BigInt(runtime), BigInt(deadline), BigInt(period)] as const;
  yield ['SCHEDULER', POLICIES[policy], nice >>> 0, priority, flags, ...times];
}

function* memoryPolicyOperations({ memoryPolicy }: LinuxSpec): Generator<Operation> {
  if (!memoryPolicy) return;
  const field = 'linux.memoryPolicy.nodes';
  const { mode, nodes = '', flags = [] } = memoryPolicy;
  const nodeless = mode === 'MPOL_DEFAULT' || mode === 'MPOL_LOCAL';
  if (nodeless && nodes) throw invalid(field, `must be empty for ${mode}`);
  if (!nodeless && !nodes && mode !== 'MPOL_PREFERRED') throw invalid(field, `must name nodes for ${mode}`);
  const mask = nodes ? parseBitList(nodes, MAX_NODES, field) : new Uint8Array();
  yield [
    'MEMORY_POLICY',
    flags.reduce<number>((bits, flag) => bits | MEMORY_POLICY_FLAGS[flag], MEMORY_POLICIES[mode]),
    mask,
  ];
}

function* labelOperations(process: ProcessSpec, modules: SecurityModules): Generator<Operation> {
  const { apparmorProfile, selinuxLabel } = process;
  // "unconfined" is what everything is where there is no AppArmor
  if (apparmorProfile && (modules.apparmor || apparmorProfile !== 'unconfined')) {
    if (!modules.apparmor) throw missing('process.apparmorProfile', 'AppArmor');
    yield ['EXEC_LABEL', 'apparmor/exec', `exec ${apparmorProfile}`];
  }
  if (selinuxLabel) {
    if (!modules.selinux) throw missing('process.selinuxLabel', 'SELinux');
    yield ['EXEC_LABEL', 'exec', selinuxLabel];
  }
}

/** The OOM score, which only an ordinary process of the host, or the host's root, may write. */
export function* oomOperations({ oomScoreAdj }: ProcessSpec): Generator<Operation> {
  if (oomScoreAdj !== undefined) yield ['OOM_SCORE', String(oomScoreAdj)];
}

/** Shares of processor and disk: children inherit them, but for {@link ownSchedule}. */
export function* shareOperations(process: ProcessSpec): Generator<Operation> {
  const { ioPriority } = process;
  if (ioPriority) {
    const { class: name, priority = 0 } = ioPriority;
    yield ['IO_PRIORITY', (IO_CLASSES[name] << IO_CLASS_SHIFT) | priority];
  }
  yield* schedulerOperations(process);
}

/** Whether the process has to ask for its schedule itself: one that is not passed on to children. */
export function ownSchedule({ scheduler }: ProcessSpec): boolean {
  return (
    scheduler?.policy === 'SCHED_DEADLINE' || scheduler?.flags?.includes('SCHED_FLAG_RESET_ON_FORK') === true
  );
}

/** Everything else of this file but affinity and clocks. */
export function* standingOperations(
  spec: Spec,
  process: ProcessSpec,
  modules: SecurityModules,
): Generator<Operation> {
  yield* memoryPolicyOperations(spec.linux ?? {});
  yield* labelOperations(process, modules);
  const { personality } = spec.linux ?? {};
  if (!personality) return;
  let persona: number = PERSONAS[personality.domain];
  personality.flags?.forEach((flag, i) => {
    const bit = PERSONALITY_FLAGS.get(flag);
    if (bit === undefined) throw unsupported(`linux.personality.flags[${i}]`);
    persona |= bit;
  });
  yield ['PERSONALITY', persona];
}

/** The CPUs of an exec'd process: before it is in the container's cgroup, and from then on. */
export function affinityOperations({ execCPUAffinity = {} }: ProcessSpec): {
  initial: Operation[];
  final: Operation[];
} {
  const field = 'process.execCPUAffinity';
  const { initial, final } = execCPUAffinity;
  return {
    initial: initial ? [['PARENT_AFFINITY', parseBitList(initial, MAX_CPUS, `${field}.initial`)]] : [],
    final: final ? [['AFFINITY', parseBitList(final, MAX_CPUS, `${field}.final`)]] : [],
  };
}

/** What the clocks of a new time namespace are ahead by; none to make the namespace without. */
export function* timeOperations({ timeOffsets = {} }: LinuxSpec): Generator<Operation> {
  const lines = Object.entries(timeOffsets).map(
    ([clock, { secs = 0, nanosecs = 0 }]) => `${clock} ${BigInt(secs)} ${nanosecs}\n`,
  );
  if (lines.length > 0) yield ['TIME_OFFSETS', lines.join('')];
}
