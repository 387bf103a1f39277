/**
 * The compiler: an OCI runtime spec in, a launch plan out. Pure; whatever it has to know of the machine comes in as
 * data. Policy lives here, so that the helper can do without any.
 *
 * A plan is carried out by up to three processes. The monitor does phase 1 and makes the next one. That is the
 * container's process, or, for a user namespace or shifted clocks, the *stage*, which does what can only be done from
 * outside of these, enters them, and makes the container's process (CHILD).
 */
import type { ExecOptions, LogFile } from '../runtime.ts';
import type { ProcessSpec, Spec } from '../spec/config.ts';
import type { CgroupPlacement, PlanContext } from './context.ts';
import { createHookOperations, startHookOperations } from './hooks.ts';
import { listenerOperations } from './seccomp-listener.ts';
import { MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE } from './mount-options.ts';
import { MountPlan, normalize } from './mount-plan.ts';
import { planMounts } from './mounts.ts';
import {
  CLONE_FLAGS,
  hostId,
  identityOf,
  readNamespaces,
  userNamespaceOf,
  userOperation,
} from './namespaces.ts';
import type { Namespaces, UserNamespace } from './namespaces.ts';
import type { Operation, Plan } from './operations.ts';
import { STDIO, isTerminal, limitRoom, processOperations, stdioOperation } from './process.ts';
import { planRoot } from './root.ts';
import {
  affinityOperations,
  oomOperations,
  ownSchedule,
  shareOperations,
  standingOperations,
  timeOperations,
} from './scheduling.ts';
import { checkNetDevices, nameOperations, sysctlOperations } from './settings.ts';
import { invalid } from './validate.ts';

const ROOT_PROPAGATION = {
  shared: MS_SHARED,
  slave: MS_SLAVE,
  private: MS_PRIVATE,
  unbindable: MS_UNBINDABLE,
} as const;

/** A directory that is always there to be mounted over: in a user namespace the state directory may be out of reach. */
const SCRATCH_IN_USER_NAMESPACE = '/proc';

/** Clone flags of the namespaces that are made with the container's process. */
function newNamespaces(spec: Spec, namespaces: Namespaces): number {
  let flags = 0;
  for (const { type, path } of namespaces.values()) {
    // made by themselves, in the right order
    if (type === 'user' || (type === 'time' && [...timeOperations(spec.linux ?? {})].length > 0)) continue;
    // a cgroup namespace is made later, once the process is where its root shall be
    if (path === undefined && type !== 'cgroup') flags |= CLONE_FLAGS[type];
  }
  return flags;
}

function* monitorOperations(
  spec: Spec,
  context: PlanContext,
  namespaces: number,
  staged: boolean,
): Generator<Operation> {
  if (context.stdio.log) yield logOperation(context.stdio.log);
  if (staged) yield ['STAGE'];
  yield ['NAMESPACES', staged ? 0 : namespaces];
  yield* listenerOperations(spec, context.subject, 'created', 0);
  if (context.cgroups?.birth) yield ['CGROUP_BIRTH', context.cgroups.birth];
  if (context.cgroups?.oomEvents) yield ['OOM_EVENTS', context.cgroups.oomEvents];
}

function logOperation(log: LogFile): Operation {
  if (!log.path.startsWith('/')) throw invalid('stdio.log.path', 'must be an absolute path');
  return ['LOG', log.path, BigInt(Math.max(0, log.maxSizeBytes ?? 0)), Math.max(1, log.maxFiles ?? 1)];
}

const cgroupJoins = (cgroups: CgroupPlacement | undefined): Operation[] =>
  (cgroups?.tasks ?? []).map((tasks) => ['CGROUP_JOIN', tasks] as const);

/** Joins of namespaces with a path; a mount namespace comes last, for it takes the host's paths away. */
function* joins(namespaces: Namespaces, ...without: string[]): Generator<Operation> {
  for (const { type, path } of namespaces.values()) {
    if (path === undefined || type === 'user' || type === 'mount' || without.includes(type)) continue;
    yield ['NAMESPACE_JOIN', CLONE_FLAGS[type], path];
  }
}

/** What the process owns on the host, and what it may do there: for a user namespace that the caller's power reaches over. */
function* outsideOperations(process: ProcessSpec, user: UserNamespace): Generator<Operation> {
  yield ['STDIO_OWNER', hostId(user.uids, process.user.uid)!, hostId(user.gids, process.user.gid)!];
  yield* limitRoom(process);
  yield* oomOperations(process);
  if (!ownSchedule(process)) yield* shareOperations(process);
}

/** What the stage does, up to its child. */
function* stageOperations(
  spec: Spec,
  process: ProcessSpec,
  namespaces: Namespaces,
  user: UserNamespace | undefined,
  mounts: MountPlan,
  context: PlanContext,
): Generator<Operation> {
  const clocks = timeOperations(spec.linux ?? {});
  yield* cgroupJoins(context.cgroups);
  if (!user) {
    yield* clocks;
    yield* joins(namespaces);
  } else if (user.privileged) {
    yield* outsideOperations(process, user);
    yield* clocks;
    yield* joins(namespaces);
    yield* mounts.trees;
    if (mounts.made.length > 0) yield* [['PRIVATE_MOUNTS'], ['SCRATCH', context.scratch]] as Operation[];
    yield* mounts.made;
    yield userOperation(user);
  } else {
    yield* oomOperations(process);
    yield userOperation(user);
    yield* clocks;
    yield* joins(namespaces);
  }
  yield ['CHILD', newNamespaces(spec, namespaces)];
}

/** The container's file systems, from the host's to a root of its own. */
function* rootOperations(
  spec: Spec,
  process: ProcessSpec,
  user: UserNamespace | undefined,
  mounts: MountPlan,
  context: PlanContext,
): Generator<Operation> {
  const { linux = {} } = spec;
  const scratch = user ? SCRATCH_IN_USER_NAMESPACE : context.scratch;
  if (!user?.privileged) yield* mounts.trees;
  // after the trees: they keep the propagation that they have on the host, for those who ask for it
  yield ['INHERITED_PROPAGATION', MS_PRIVATE | MS_REC];
  yield ['SCRATCH', scratch];
  yield* mounts.steps;
  if (isTerminal(process, context.stdio)) yield ['TERMINAL', process.user.uid, 1];
  yield ['DIRECTORY', normalize(process.cwd)];
  for (const path of linux.readonlyPaths ?? []) yield ['READONLY', normalize(path)];
  for (const path of linux.maskedPaths ?? []) yield ['MASK', normalize(path)];
  if (spec.root?.readonly) yield ['ATTRIBUTES', '/', 1n, 0n, 0];
  yield* createHookOperations(spec, context.subject);
  yield [context.pivot === false ? 'CHANGE_ROOT' : 'PIVOT'];
  if (linux.rootfsPropagation) yield ['ROOT_PROPAGATION', ROOT_PROPAGATION[linux.rootfsPropagation]];
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
  const process = processOf(spec);
  const namespaces = readNamespaces(spec);
  const user = userNamespaceOf(spec, namespaces, context.caller);
  const identity = identityOf(process, user, context.caller);
  const staged = user !== undefined || Object.keys(spec.linux?.timeOffsets ?? {}).length > 0;
  const joined = namespaces.get('mount')!.path;
  checkNetDevices(spec, namespaces, context.caller);

  const mounts = new MountPlan();
  if (joined === undefined) {
    planRoot(mounts, spec, user, context);
    planMounts(mounts, spec, namespaces, user, context);
  } else if (context.rootfs) {
    throw invalid('rootfs', 'must be left out when a mount namespace is joined: it is as it is');
  }
  const plan: Operation[] = [
    stdioOperation(process, context.stdio, context.newKeyring === false ? STDIO.KEYRING : 0),
    ...monitorOperations(spec, context, newNamespaces(spec, namespaces), staged),
  ];
  if (staged) {
    plan.push(...stageOperations(spec, process, namespaces, user, mounts, context));
  } else {
    const pid = namespaces.get('pid');
    if (pid?.path) plan.push(['PID_NAMESPACE', pid.path]);
    plan.push(...cgroupJoins(context.cgroups), ...joins(namespaces, 'pid'));
  }
  const isNew = (type: 'cgroup' | 'network'): boolean => {
    const namespace = namespaces.get(type);
    return namespace !== undefined && namespace.path === undefined;
  };
  if (isNew('cgroup')) plan.push(['CGROUP_NAMESPACE']);
  if (isNew('network')) plan.push(['LOOPBACK_UP']);
  if (joined === undefined) {
    plan.push(...rootOperations(spec, process, user, mounts, context));
  } else {
    plan.push(['NAMESPACE_JOIN', CLONE_FLAGS.mount, joined], ['ROOT_JOINED']);
    if (isTerminal(process, context.stdio)) plan.push(['TERMINAL', process.user.uid, 0]);
    plan.push(...createHookOperations(spec, context.subject));
  }
  plan.push(...sysctlOperations(spec, namespaces), ...nameOperations(spec, namespaces));
  if (!user) plan.push(...oomOperations(process));
  if (!user?.privileged || ownSchedule(process)) plan.push(...shareOperations(process));
  plan.push(
    ...standingOperations(spec, process, context.securityModules),
    ...processOperations(process, {
      identity,
      seccomp: context.seccomp,
      started: startHookOperations(spec, context.subject),
      lookUp: context.lookUp ?? false,
    }),
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
  context: Pick<PlanContext, 'cgroups' | 'seccomp' | 'subject' | 'caller' | 'securityModules'>,
): Plan {
  const process = execProcess(spec, options);
  const stdio = options.stdio ?? {};
  const hold = options.detached || stdio.log ? 0 : STDIO.HOLD;
  const namespaces = readNamespaces(spec);
  const user = userNamespaceOf(spec, namespaces, context.caller);
  const identity = identityOf(process, user, context.caller);
  // without power outside, all of the container's namespaces are reached through its user namespace
  const staged = user !== undefined && !user.privileged;
  let kinds = 0;
  for (const type of namespaces.keys()) if (type !== 'pid' || staged) kinds |= CLONE_FLAGS[type];

  const plan: Operation[] = [stdioOperation(process, stdio, STDIO.AUTOSTART | hold)];
  if (stdio.log) plan.push(logOperation(stdio.log));
  const affinity = affinityOperations(process);
  plan.push(...affinity.initial);
  if (context.cgroups?.birth) plan.push(['CGROUP_BIRTH', context.cgroups.birth]);
  if (context.seccomp) plan.push(...listenerOperations(spec, context.subject, 'running', target.pid));
  if (staged) plan.push(['STAGE']);
  plan.push(['TARGET', target.pid, target.startTicks], ...cgroupJoins(context.cgroups));
  if (staged) plan.push(...oomOperations(process));
  else if (user) plan.push(...outsideOperations(process, user));
  plan.push(['TARGET_JOIN', kinds]);
  if (staged) plan.push(['CHILD', 0]);
  plan.push(...affinity.final);
  if (isTerminal(process, stdio)) plan.push(['TERMINAL', process.user.uid, 0]);
  if (!user) plan.push(...oomOperations(process));
  if (!user?.privileged || ownSchedule(process)) plan.push(...shareOperations(process));
  plan.push(
    ...standingOperations(spec, process, context.securityModules),
    ...processOperations(process, { identity, seccomp: context.seccomp, started: [], lookUp: false }),
  );
  return plan;
}
