/** The errors of this package. Failed system calls of the thin wrappers are plain Errors as `node:fs` throws them. */

import type { HookKind } from './spec/config.ts';

const BRAND = Symbol.for('@tare/runtime-native/RuntimeError');

/** Stable, machine-readable causes. */
export type RuntimeErrorCode =
  /** A container of that id exists. */
  | 'ALREADY_EXISTS'
  /** No such container. */
  | 'NOT_FOUND'
  /** The id breaks the grammar. */
  | 'INVALID_ID'
  /** The spec is malformed or contradicts itself; `field` is the JSON path. */
  | 'INVALID_SPEC'
  /** This kernel, this machine or this user cannot do it. */
  | 'UNSUPPORTED'
  /** The container is not in the state that the operation needs. */
  | 'INVALID_STATE'
  | 'NOT_RUNNING'
  | 'STILL_RUNNING'
  | 'NOT_A_TERMINAL'
  /** A step of setting the container up failed; `step`, `syscall`, `errno` and `path` say which. */
  | 'SETUP_FAILED'
  /** A hook failed or took too long; `field` says which. */
  | 'HOOK_FAILED'
  /** The program cannot be executed; `errno` says why. */
  | 'EXEC_FAILED'
  /** The monitor of a container is gone or does not answer. */
  | 'MONITOR_LOST'
  /** The kernel's cgroups refused something; `path` is the file. */
  | 'CGROUP_FAILED'
  /** The addon or the helper is not compiled. */
  | 'NATIVE_MISSING';

/** What an error can tell besides its message. */
export interface RuntimeErrorDetails {
  cause?: unknown;
  /** Positive errno of the failed system call. */
  errno?: number;
  /** Its name, for example `'ENOENT'`. */
  errnoCode?: string;
  syscall?: string;
  path?: string;
  /** JSON path of a field of the spec, for example `'linux.namespaces[2].path'`. */
  field?: string;
  /** The operation of the launch plan that failed. */
  step?: string;
}

/** Base of every error that this package decides on. Match on `code`, which is stable, or with {@link RuntimeError.is}. */
export class RuntimeError extends Error {
  readonly code: RuntimeErrorCode;
  readonly errno: number | undefined;
  readonly errnoCode: string | undefined;
  readonly syscall: string | undefined;
  readonly path: string | undefined;
  readonly field: string | undefined;
  readonly step: string | undefined;

  constructor(code: RuntimeErrorCode, message: string, details: RuntimeErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.errno = details.errno;
    this.errnoCode = details.errnoCode;
    this.syscall = details.syscall;
    this.path = details.path;
    this.field = details.field;
    this.step = details.step;
  }

  /** Whether `value` is a RuntimeError of any loaded copy of this package. */
  static is(value: unknown): value is RuntimeError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }
}
Object.defineProperty(RuntimeError.prototype, BRAND, { value: true });
Object.defineProperty(RuntimeError.prototype, 'name', { value: 'RuntimeError', writable: true });

/** A hook that did not end well. */
export function hookFailed(kind: HookKind, index: number, what: string, cause?: unknown): RuntimeError {
  const field = `hooks.${kind}[${index}]`;
  return new RuntimeError('HOOK_FAILED', `${field}: ${what}`, { field, cause });
}
