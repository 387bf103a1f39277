/** What went wrong, in the words that callers of runc know and look for. */
import { RuntimeError } from '@tare/runtime-native';

/** An error whose message is already what shall be said. */
export class CommandError extends Error {
  /** What the command ends with. */
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'CommandError';
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A wrong command line: the usage of the command is shown with it. */
export class UsageError extends CommandError {}

const NOT_FOUND = 'container does not exist';

/** Node's message without its codes: `open /nope/.x: no such file or directory`. */
function systemMessage(error: NodeJS.ErrnoException): string {
  const [, reason = error.message] = /^[A-Z0-9]+: (.*?)(?:, \w+.*)?$/.exec(error.message) ?? [];
  return [error.syscall, error.path].filter(Boolean).join(' ') + (error.syscall ? ': ' : '') + reason;
}

/** The message for an error of whichever kind. */
export function describe(error: unknown): string {
  if (error instanceof CommandError) return error.message;
  if (RuntimeError.is(error)) return describeRuntimeError(error);
  if (error instanceof Error && 'syscall' in error) return systemMessage(error as NodeJS.ErrnoException);
  return error instanceof Error ? error.message : String(error);
}

function describeRuntimeError(error: RuntimeError): string {
  switch (error.code) {
    case 'NOT_FOUND':
      return NOT_FOUND;
    case 'ALREADY_EXISTS':
      return 'container with given ID already exists';
    case 'INVALID_ID':
      return 'invalid container ID format';
    case 'EXEC_FAILED':
      return `unable to start container process: ${error.message}`;
    case 'SETUP_FAILED':
      return `unable to start container process: error during container init: ${error.message}`;
    case 'HOOK_FAILED':
      return `unable to start container process: error during container init: error running hook: ${error.message}`;
    default:
      return error.message;
  }
}
