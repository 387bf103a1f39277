/** Errors of `run` and `create`: prefixed, followed by where to find help, and with the exit codes shells expect. */
import { CliError, messageOf } from './errors.ts';

/** The error as `run` shows it. */
export function withHelp(error: unknown, verb: string, exitCode: number): CliError {
  return new CliError(`tare: ${messageOf(error)}\n\nRun 'tare ${verb} --help' for more information`, {
    exitCode,
    cause: error,
  });
}

/**
 * The exit code for a container that could not be created or started, read from the error's words as Docker does: 127
 * for a missing program, 126 for one that cannot be executed, 125 for everything else.
 */
export function startFailureCode(error: unknown): number {
  const message = messageOf(error);
  if (
    /executable file not found|no such file or directory|system cannot find the file specified/.test(message)
  )
    return 127;
  return /permission denied|is a directory/.test(message) ? 126 : 125;
}
