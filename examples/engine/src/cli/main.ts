/** The `tare` command line: finds the command, runs it, and turns whatever it throws into a message and an exit code. */
import { Cli, type Surroundings } from './cli.ts';
import { commandTable, type Entry } from './command-table.ts';
import { GIT_COMMIT, TARE_VERSION } from '../version.ts';
import { overview } from './overview.ts';
import { splitGlobals } from './globals.ts';
import { CliError, ExitError, UsageError, messageOf } from './errors.ts';

/**
 * Runs one command line.
 *
 * @param argv the arguments after the program's name
 * @param surroundings the process around it; default this process
 * @returns the exit code
 */
export async function main(
  argv: readonly string[],
  surroundings: Surroundings = processSurroundings(),
): Promise<number> {
  let cli: Cli | undefined;
  try {
    const { globals, rest } = splitGlobals(argv);
    cli = new Cli(surroundings, globals);
    if (globals.version) {
      cli.print(`Tare version ${TARE_VERSION}, build ${GIT_COMMIT}`);
      return 0;
    }
    return await dispatch(cli, rest, commandTable, 'tare');
  } catch (error) {
    if (error instanceof ExitError) return error.exitCode;
    surroundings.stderr.write(`${messageOf(error)}\n`);
    if (cli?.globals.debug && error instanceof Error) surroundings.stderr.write(`${error.stack}\n`);
    return error instanceof CliError ? error.exitCode : 1;
  } finally {
    cli?.close();
  }
}

function processSurroundings(): Surroundings {
  const { stdout, stderr, env: environment } = process;
  return {
    // A getter: Node opens stdin when it is first looked at.
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    environment,
    workingDirectory: process.cwd(),
  };
}

async function dispatch(
  cli: Cli,
  [verb, ...rest]: readonly string[],
  table: Readonly<Record<string, Entry>>,
  path: string,
): Promise<number> {
  if (verb === undefined && path !== 'tare') {
    // Docker's way: a group alone is not wrong, but what it prints is not its output either.
    cli.warn(overview(table, path));
    return 0;
  }
  if (verb === undefined || verb === '--help' || verb === '-h' || verb === 'help') {
    cli.print(overview(table, path));
    return 0;
  }
  const found = Object.hasOwn(table, verb) ? table[verb] : undefined;
  if (!found) {
    const usage = path === 'tare' ? '' : `Usage:  ${path}\n\n`;
    throw new UsageError(
      `tare: unknown command: ${path} ${verb}\n\n${usage}Run '${path} --help' for more information`,
    );
  }
  if ('commands' in found) return dispatch(cli, rest, found.commands, `${path} ${verb}`);
  const command = await found.load();
  return command.execute(cli, `${path} ${verb}`, rest);
}
