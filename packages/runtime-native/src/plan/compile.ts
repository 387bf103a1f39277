/**
 * The compiler: an OCI runtime spec in, a launch plan out. Pure; whatever it has to know of the machine comes in as
 * data. Policy lives here, so that the helper can do without any.
 */
import type { ExecOptions, LogFile } from '../runtime.ts';
import type { ProcessSpec, Spec } from '../spec/config.ts';
import type { NamespaceSpec } from '../spec/linux.ts';
import type { CgroupPlacement, PlanContext, SeccompFilter, SecurityModules } from './context.ts';
import { createHookOperations, startHookOperations } from './hooks.ts';
import type { HookSubject } from './hooks.ts';
import { listenerOperations } from './seccomp-listener.ts';
import { MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE } from './mount-options.ts';
import { MountPlan, normalize, planMounts, planRoot } from './mounts.ts';
import type { Operation, Plan } from './operations.ts';
import { STDIO, isTerminal, processOperations, stdioOperation } from './process.ts';
import { affinityOperations, standingOperations, timeOperations } from './scheduling.ts';
import { invalid, refuseUnsupported, unsupported } from './validate.ts';

/** CLONE_NEW… flags by the spec's names. */
export const CLONE_FLAGS: Readonly<Record<NamespaceSpec['type'], number>> = {
  mount: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  ipc: 0x0800_0000,
  user: 0x1000_0000,
  pid: 0x2000_0000,
  network: 0x4000_0000,
  time: 0x80,
};

const ROOT_PROPAGATION = {
  shared: MS_SHARED,
  slave: MS_SLAVE,
  private: MS_PRIVATE,
  unbindable: MS_UNBINDABLE,
} as const;

/** Sysctls that belong to the ipc namespace; `net.…` belongs to the network one. All others are the host's. */
const IPC_SYSCTLS =
  /^(?:kernel\/(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|auto_msgmni)|fs\/mqueue\/.*)$/;

/** The namespaces of a spec by kind; one entry of a kind. */
type Namespaces = ReadonlyMap<NamespaceSpec['type'], NamespaceSpec>;

function readNamespaces(spec: Spec): Namespaces {
  const namespaces = new Map<NamespaceSpec['type'], NamespaceSpec>();
  (spec.linux?.namespaces ?? []).forEach((namespace, i) => {
    const field = `linux.namespaces[${i}]`;
    if (namespaces.has(namespace.type)) throw invalid(field, `is a second ${namespace.type} namespace`);
    if (namespace.type === 'user') throw unsupported(field);
    if (namespace.type === 'mount' && namespace.path) throw unsupported(`${field}.path`);
    namespaces.set(namespace.type, namespace);
  });
  if (!namespaces.has('mount')) throw invalid('linux.namespaces', 'must have a new mount namespace');
  const time = namespaces.get('time');
  if (Object.keys(spec.linux?.timeOffsets ?? {}).length > 0 && (!time || time.path !== undefined)) {
    throw invalid('linux.timeOffsets', 'needs a new time namespace: a clock with users cannot be shifted');
  }
  return namespaces;
}

function* monitorOperations(spec: Spec, namespaces: Namespaces, context: PlanContext): Generator<Operation> {
  if (context.stdio.log) yield logOperation(context.stdio.log);
  const clocks = [...timeOperations(spec.linux ?? {})];
  let flags = 0;
  for (const { type, path } of namespaces.values()) {
    // the monitor makes it for its child, to shift the clocks before somebody lives there
    if (type === 'time' && clocks.length > 0) continue;
    // a cgroup namespace is made later, once the process is where its root shall be
    if (path === undefined && type !== 'cgroup') flags |= CLONE_FLAGS[type];
  }
  yield ['NAMESPACES', flags];
  yield* clocks;
  yield* listenerOperations(spec, context.subject, 'created', 0);
  const pid = namespaces.get('pid');
  if (pid?.path) yield ['PID_NAMESPACE', pid.path];
  if (context.cgroups?.birth) yield ['CGROUP_BIRTH', context.cgroups.birth];
  if (context.cgroups?.oomEvents) yield ['OOM_EVENTS', context.cgroups.oomEvents];
}

function logOperation(log: LogFile): Operation {
  if (!log.path.startsWith('/')) throw invalid('stdio.log.path', 'must be an absolute path');
  return ['LOG', log.path, BigInt(Math.max(0, log.maxSizeBytes ?? 0)), Math.max(1, log.maxFiles ?? 1)];
}

function* joinOperations(namespaces: Namespaces, cgroups: CgroupPlacement | undefined): Generator<Operation> {
  for (const tasks of cgroups?.tasks ?? []) yield ['CGROUP_JOIN', tasks];
  for (const { type, path } of namespaces.values()) {
    if (path !== undefined && type !== 'pid') yield ['NAMESPACE_JOIN', CLONE_FLAGS[type], path];
  }
  const cgroup = namespaces.get('cgroup');
  if (cgroup && cgroup.path === undefined) yield ['CGROUP_NAMESPACE'];
  const network = namespaces.get('network');
  if (network && network.path === undefined) yield ['LOOPBACK_UP'];
}

function sysctlOwner(name: string): NamespaceSpec['type'] | undefined {
  if (name.startsWith('net/')) return 'network';
  if (name === 'kernel/domainname') return 'uts';
  return IPC_SYSCTLS.test(name) ? 'ipc' : undefined;
}

function* sysctlOperations(spec: Spec, namespaces: Namespaces): Generator<Operation> {
  for (const [key, value] of Object.entries(spec.linux?.sysctl ?? {})) {
    // "net.ipv4.conf.eth0/1.x": whichever of the two comes first separates
    const slashes = key.search(/[./]/) === key.indexOf('/');
    const name = slashes ? key : key.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
    const owner = sysctlOwner(name);
    const field = `linux.sysctl[${JSON.stringify(key)}]`;
    if (!owner) throw invalid(field, 'is not of any namespace: it would change the host');
    if (!namespaces.has(owner)) throw invalid(field, `needs a ${owner} namespace of the container's own`);
    yield ['SYSCTL', name, value];
  }
}

/** Hostname and domain name. */
function* nameOperations(spec: Spec, namespaces: Namespaces): Generator<Operation> {
  for (const field of ['hostname', 'domainname'] as const) {
    const name = spec[field];
    if (!name) continue;
    if (!namespaces.has('uts')) throw invalid(field, 'needs a uts namespace: it would rename the host');
    yield [field === 'hostname' ? 'HOSTNAME' : 'DOMAINNAME', name];
  }
}

/** The process of a spec. @throws {RuntimeError} `INVALID_SPEC` without one */
export function processOf(spec: Spec): ProcessSpec {
  if (!spec.process) throw invalid('process', 'is missing: there is nothing to run');
  return spec.process;
}

/**
 * Compiles a container. The plan is complete: the helper needs nothing else, and does nothing else.
 *
 * @throws {RuntimeError} `INVALID_SPEC` or `UNSUPPORTED`, each with `field`
 */
export function compileContainer(spec: Spec, context: PlanContext): Plan {
  refuseUnsupported(spec);
  const process = processOf(spec);
  const namespaces = readNamespaces(spec);
  const { linux = {} } = spec;

  const mounts = new MountPlan();
  planRoot(mounts, spec, context);
  planMounts(mounts, spec, context);
  const plan: Operation[] = [
    stdioOperation(process, context.stdio),
    ...monitorOperations(spec, namespaces, context),
    ...joinOperations(namespaces, context.cgroups),
    ...mounts.trees,
    // after the trees: they keep the propagation that they have on the host, for those who ask for it
    ['INHERITED_PROPAGATION', MS_PRIVATE | MS_REC],
    ['SCRATCH', context.scratch],
    ...mounts.steps,
  ];
  if (isTerminal(process, context.stdio)) plan.push(['TERMINAL', process.user.uid, 1]);
  plan.push(['DIRECTORY', normalize(process.cwd)]);
  for (const path of linux.readonlyPaths ?? []) plan.push(['READONLY', normalize(path)]);
  for (const path of linux.maskedPaths ?? []) plan.push(['MASK', normalize(path)]);
  if (spec.root?.readonly) plan.push(['ATTRIBUTES', '/', 1n, 0n, 0]);
  plan.push(...createHookOperations(spec, context.subject), ['PIVOT']);
  if (linux.rootfsPropagation) plan.push(['ROOT_PROPAGATION', ROOT_PROPAGATION[linux.rootfsPropagation]]);
  plan.push(
    ...sysctlOperations(spec, namespaces),
    ...nameOperations(spec, namespaces),
    ...standingOperations(spec, process, context.securityModules),
  );
  plan.push(
    ...processOperations(process, { ...context, started: startHookOperations(spec, context.subject) }),
  );
  return plan;
}

/** What an exec'd process joins. */
export interface ExecTarget {
  pid: number;
  /** Field 22 of `/proc/<pid>/stat`. */
  startTicks: bigint;
}

/**
 * The process of an exec: what the caller asks for, and the container's own where they ask for nothing.
 * `apparmorProfile` and the like are the container's.
 */
export function execProcess(spec: Spec, options: ExecOptions): ProcessSpec {
  const base = processOf(spec);
  const { seccomp: _, ...rest } = options;
  return {
    args: rest.args,
    env: rest.env,
    cwd: rest.cwd ?? '/',
    user: rest.user ?? { uid: 0, gid: 0 },
    capabilities: rest.capabilities ?? base.capabilities,
    noNewPrivileges: rest.noNewPrivileges ?? base.noNewPrivileges,
    rlimits: base.rlimits,
    oomScoreAdj: base.oomScoreAdj,
    ioPriority: base.ioPriority,
    scheduler: base.scheduler,
    execCPUAffinity: base.execCPUAffinity,
    apparmorProfile: base.apparmorProfile,
    selinuxLabel: base.selinuxLabel,
    terminal: rest.stdio?.terminal ?? false,
  };
}

/** Compiles a process that joins a running container. */
export function compileExec(
  spec: Spec,
  options: ExecOptions,
  target: ExecTarget,
  context: {
    cgroups: CgroupPlacement | undefined;
    seccomp: SeccompFilter | undefined;
    subject: HookSubject;
    available: bigint;
    securityModules: SecurityModules;
  },
): Plan {
  const process = execProcess(spec, options);
  const stdio = options.stdio ?? {};
  const hold = options.detached || stdio.log ? 0 : STDIO.HOLD;
  let kinds = 0;
  for (const type of readNamespaces(spec).keys()) if (type !== 'pid') kinds |= CLONE_FLAGS[type];

  const plan: Operation[] = [stdioOperation(process, stdio, STDIO.AUTOSTART | hold)];
  if (stdio.log) plan.push(logOperation(stdio.log));
  const affinity = affinityOperations(process);
  plan.push(...affinity.initial);
  if (context.cgroups?.birth) plan.push(['CGROUP_BIRTH', context.cgroups.birth]);
  if (context.seccomp) plan.push(...listenerOperations(spec, context.subject, 'running', target.pid));
  plan.push(['TARGET', target.pid, target.startTicks]);
  for (const tasks of context.cgroups?.tasks ?? []) plan.push(['CGROUP_JOIN', tasks]);
  plan.push(['TARGET_JOIN', kinds], ...affinity.final);
  if (isTerminal(process, stdio)) plan.push(['TERMINAL', process.user.uid, 0]);
  plan.push(
    ...standingOperations(spec, process, context.securityModules),
    ...processOperations(process, { ...context, started: [] }),
  );
  return plan;
}
