/**
 * Why a process could not be started, in the words that clients read: the stock CLI takes its own exit code (125, 126
 * or 127) from the text. Pure.
 */
import { constants } from 'node:os';

import { EngineError, messageOf } from '../errors.ts';

/** An error for the client, and what the container's or exec's exit code becomes. */
export interface StartFailure {
  error: EngineError;
  exitCode: number;
}

/** Exit codes of the shell's convention. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
/** What dockerd records for any other failure to start. */
const OTHER = 128;

/** A failed `create` or `start` of a container that was to run `program`. */
export function containerStartFailure(error: unknown, program: string): StartFailure {
  if (error instanceof EngineError) return { error, exitCode: OTHER };
  const prefix =
    'failed to create task for container: failed to create shim task: OCI runtime create failed: ' +
    'unable to start container process: ';
  return failure(error, program, prefix);
}

/** A failed `exec` of `program` in a running container. */
export function execStartFailure(error: unknown, program: string): StartFailure {
  if (error instanceof EngineError) return { error, exitCode: NOT_EXECUTABLE };
  const prefix = 'OCI runtime exec failed: exec failed: unable to start container process: ';
  const { error: described, exitCode } = failure(error, program, prefix);
  return { error: described, exitCode: exitCode === OTHER ? NOT_EXECUTABLE : exitCode };
}

function failure(error: unknown, program: string, prefix: string): StartFailure {
  const { code, errno } = error as { code?: unknown; errno?: unknown };
  const described = code === 'EXEC_FAILED' ? execText(program, errno) : undefined;
  if (!described)
    return { error: systemFailure(`${prefix}${messageOf(error)}: unknown`, error), exitCode: OTHER };
  return {
    // dockerd answers 400 for a command that cannot be run: it is the request's fault
    error: new EngineError('INVALID', `${prefix}${described.text}: unknown`, { cause: error }),
    exitCode: described.exitCode,
  };
}

function systemFailure(message: string, cause: unknown): EngineError {
  return new EngineError('SYSTEM', message, { cause });
}

function execText(program: string, errno: unknown): { text: string; exitCode: number } | undefined {
  const { ENOENT, EACCES, EISDIR, ENOTDIR, ENOEXEC, ELOOP } = constants.errno;
  const quoted = JSON.stringify(program);
  switch (typeof errno === 'number' ? Math.abs(errno) : 0) {
    case ENOENT:
      return program.includes('/')
        ? { text: `exec: ${quoted}: stat ${program}: no such file or directory`, exitCode: NOT_FOUND }
        : { text: `exec: ${quoted}: executable file not found in $PATH`, exitCode: NOT_FOUND };
    case EACCES:
      return { text: `exec: ${quoted}: permission denied`, exitCode: NOT_EXECUTABLE };
    case EISDIR:
      return { text: `exec: ${quoted}: is a directory`, exitCode: NOT_EXECUTABLE };
    case ENOTDIR:
      return { text: `exec: ${quoted}: stat ${program}: not a directory`, exitCode: NOT_EXECUTABLE };
    case ELOOP:
      return { text: `exec: ${quoted}: too many levels of symbolic links`, exitCode: NOT_EXECUTABLE };
    case ENOEXEC:
      return { text: `exec ${program}: exec format error`, exitCode: NOT_EXECUTABLE };
    default:
      return undefined;
  }
}
