/** Errors of the command line. Each knows what to print and which exit code it means. */

/** A failure the user sees as one message on stderr. */
export class CliError extends Error {
  override name = 'CliError';
  /** Stable, for tests and callers of `main`. */
  readonly code: string = 'ERR_CLI';
  /** Exit code of the process. Default 1. */
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A command line that makes no sense: an unknown flag, a malformed value, a missing argument. */
export class UsageError extends CliError {
  override name = 'UsageError';
  override readonly code = 'ERR_CLI_USAGE';
}

/** The daemon answered with an error. */
export class DaemonError extends CliError {
  override name = 'DaemonError';
  override readonly code = 'ERR_CLI_DAEMON';
  /** HTTP status. */
  readonly status: number;
  /** The daemon's own words, without the prefix. */
  readonly reason: string;

  constructor(status: number, reason: string) {
    super(`Error response from daemon: ${reason}`);
    this.status = status;
    this.reason = reason;
  }
}

/** Nobody answers at the daemon's address. */
export class ConnectionError extends CliError {
  override name = 'ConnectionError';
  override readonly code = 'ERR_CLI_CONNECTION';
}

/** The command ended with an exit code of its own and has printed all there is to say. */
export class ExitError extends CliError {
  override name = 'ExitError';
  override readonly code = 'ERR_CLI_EXIT';

  constructor(exitCode: number) {
    super('', { exitCode });
  }
}

/** Several independent failures of one command, each printed on its own line. */
export class ManyErrors extends CliError {
  override name = 'ManyErrors';
  override readonly code = 'ERR_CLI_MANY';
  readonly errors: readonly unknown[];

  constructor(errors: readonly unknown[]) {
    super(errors.map(messageOf).join('\n'));
    this.errors = errors;
  }
}

/** Of an answer that ends before its end. */
export const DAEMON_GONE =
  "the daemon went away. Containers go on without it; 'tare version' tells whether it is back";

/** What to print for anything thrown. */
export function messageOf(error: unknown): string {
  // all that Node says of a connection which breaks while it is read
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ECONNRESET') return DAEMON_GONE;
  return error instanceof Error ? error.message : String(error);
}

/** A failed `open`, in the words of the C library rather than of Node. */
export function openError(path: string, cause: unknown): string {
  const { code } = cause as NodeJS.ErrnoException;
  const words: Record<string, string> = {
    ENOENT: 'no such file or directory',
    EACCES: 'permission denied',
    EISDIR: 'is a directory',
    ENOTDIR: 'not a directory',
  };
  return `open ${path}: ${words[code ?? ''] ?? messageOf(cause)}`;
}
