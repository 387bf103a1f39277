/** Failures of the helper as errors of this package, in words that people know from other runtimes. */
import { RuntimeError, hookFailed } from '../errors.ts';
import type { HookKind } from '../spec/config.ts';
import type { HelperFailure } from './message.ts';

function describeExec({ errno, errnoCode, path, reason }: HelperFailure): string {
  const quoted = JSON.stringify(path);
  if (errnoCode === 'ENOENT' && !path.includes('/'))
    return `exec: ${quoted}: executable file not found in $PATH`;
  if (errnoCode === 'ENOENT') return `exec: ${quoted}: stat ${path}: no such file or directory`;
  // ENOEXEC, in the kernel's words; libuv has none for it
  return `exec: ${quoted}: ${errno === 8 ? 'exec format error' : reason}`;
}

/** The field of the spec that a step of the plan does, where there is but one. */
const FIELDS: Readonly<Record<string, string>> = {
  USER_NAMESPACE: 'linux.uidMappings',
  LIMIT_ROOM: 'process.rlimits',
  TIME_OFFSETS: 'linux.timeOffsets',
  SYSCTL: 'linux.sysctl',
  HOSTNAME: 'hostname',
  DOMAINNAME: 'domainname',
  PARENT_AFFINITY: 'process.execCPUAffinity.initial',
  AFFINITY: 'process.execCPUAffinity.final',
  OOM_SCORE: 'process.oomScoreAdj',
  IO_PRIORITY: 'process.ioPriority',
  SCHEDULER: 'process.scheduler',
  MEMORY_POLICY: 'linux.memoryPolicy',
  PERSONALITY: 'linux.personality',
  RLIMIT: 'process.rlimits',
  SECCOMP: 'linux.seccomp',
  SECCOMP_LISTENER: 'linux.seccomp.listenerPath',
};

/** Kinds of the hooks that the container's process runs. */
const HOOKS: Readonly<Record<string, HookKind>> = {
  CREATE_HOOK: 'createContainer',
  START_HOOK: 'startContainer',
};

/** Of a hook the helper tells its place in the list, and what happened; nothing of it when it could not be started. */
function hookError(kind: HookKind, failure: HelperFailure): RuntimeError | undefined {
  const [, index, text] = failure.syscall === 'hook' ? (/^(\d+) (.*)$/s.exec(failure.path) ?? []) : [];
  if (index === undefined || text === undefined) return undefined;
  const what = failure.errnoCode === 'ETIMEDOUT' ? text.replace('signal 9', 'took too long') : text.trim();
  return hookFailed(kind, Number(index), what, failure);
}

/**
 * `EXEC_FAILED` for the program itself, `NOT_RUNNING` without a container to join, `UNSUPPORTED` for what this kernel cannot
 * do, `SETUP_FAILED` for other steps.
 */
export function failureError(failure: HelperFailure, what: string): RuntimeError {
  const { errno, errnoCode, syscall, path, step, reason } = failure;
  const field = FIELDS[step];
  const details = { errno, errnoCode, syscall, path, step, ...(field ? { field } : {}), cause: failure };
  const hook = HOOKS[step] && hookError(HOOKS[step], failure);
  if (hook) return hook;
  if ((step === 'EXEC' || step === 'PROGRAM') && syscall === 'execve')
    return new RuntimeError('EXEC_FAILED', describeExec(failure), details);
  if (step === 'TARGET' && errnoCode === 'ESRCH') {
    return new RuntimeError('NOT_RUNNING', `${what}: the container has ended`, details);
  }
  if (syscall === 'idmap') {
    const message = `${what}: the file system at ${path} cannot have its ids mapped by this kernel`;
    return new RuntimeError('UNSUPPORTED', message, {
      ...details,
      syscall: 'mount_setattr',
      // of the root's the caller has said in `rootfs`
      ...(path === '/' || path === 'overlay' ? {} : { field: 'mounts' }),
    });
  }
  const subject = path ? ` ${path}` : '';
  return new RuntimeError(
    'SETUP_FAILED',
    `${what}: step ${step.toLowerCase().replaceAll('_', ' ')}${field ? ` (${field})` : ''} failed: ${syscall}${subject}: ${reason}`,
    details,
  );
}
