/** Refusals of specs that are well-formed and yet cannot be run: contradictions, and what is not supported. */
import type { ZodSafeParseResult } from 'zod';

import { RuntimeError } from '../errors.ts';
import { processSchema, specSchema } from '../spec/config.ts';
import type { Spec } from '../spec/config.ts';
import type { ExecOptions } from '../runtime.ts';
import { resourcesSchema } from '../spec/linux.ts';
import type { LinuxResources } from '../spec/linux.ts';

/** The id of a container or of a process in it, as runc and crun have it. */
const ID = /^[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,254}$/;

/** @throws {RuntimeError} `INVALID_ID` */
export function checkId(id: string): void {
  if (!ID.test(id)) {
    throw new RuntimeError(
      'INVALID_ID',
      `${JSON.stringify(id)} cannot be an id: use up to 255 of A-Z, a-z, 0-9, "_", "+", "-" and, not first, "."`,
    );
  }
}

export function invalid(field: string, message: string): RuntimeError {
  return new RuntimeError('INVALID_SPEC', `${field}: ${message}`, { field });
}

export function unsupported(field: string): RuntimeError {
  return new RuntimeError('UNSUPPORTED', `${field} is not supported by this version; leave it out`, {
    field,
  });
}

/** `field` asks for what this machine or this caller cannot do; `message` says what and why. */
export function cannot(field: string, message: string): RuntimeError {
  return new RuntimeError('UNSUPPORTED', `${field}: ${message}`, { field });
}

/** `field` asks for `what`, which this kernel does not have or does not have on. */
export function missing(field: string, what: string): RuntimeError {
  return new RuntimeError('UNSUPPORTED', `${field} needs ${what}, which is not on here; leave it out`, {
    field,
  });
}

function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : `${text && '.'}${String(part)}`;
  return text;
}

/**
 * Checks a spec against the schemas and returns it without unknown properties.
 *
 * @throws {RuntimeError} `INVALID_SPEC` with the JSON path of the first wrong field
 */
export function parseSpec(value: unknown): Spec {
  return checked(specSchema.safeParse(value), '');
}

/** The value of a successful parse. `root` is where its paths start. */
function checked<T>(result: ZodSafeParseResult<T>, root: string): T {
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const field = [root, formatPath(issue.path)].filter(Boolean).join('.') || 'config.json';
  throw new RuntimeError('INVALID_SPEC', `${field}: ${issue.message}`, { field, cause: result.error });
}

/** @throws {RuntimeError} `INVALID_SPEC` with the field's path */
export function parseResources(value: unknown): LinuxResources {
  return checked(resourcesSchema.safeParse(value), 'resources');
}

/** The part of {@link ExecOptions} that reaches the kernel. @throws {RuntimeError} `INVALID_SPEC` */
export function parseExec(options: ExecOptions): ExecOptions {
  const { args, env, cwd = '/', user = { uid: 0, gid: 0 }, capabilities } = options;
  checked(processSchema.safeParse({ args, env, cwd, user, capabilities }), 'process');
  return options;
}
