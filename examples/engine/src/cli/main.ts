/** The `tare` command line: finds the command, runs it, and turns whatever it throws into a message and an exit code. */
import { Cli, type Surroundings } from './cli.ts';
import { commandTable, type Entry } from './command-table.ts';
import { GIT_COMMIT, TARE_VERSION } from '../version.ts';
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
    if (cli && surroundings.stderr.isTTY) {
      const { hintFor } = await import('./hints.ts');
      const hint = await hintFor(cli, error);
      if (hint !== undefined) surroundings.stderr.write(`Hint: ${hint}\n`);
    }
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

type Table = Readonly<Record<string, Entry>>;

async function dispatch(
  cli: Cli,
  [verb, ...rest]: readonly string[],
  table: Table,
  path: string,
): Promise<number> {
  const top = path === 'tare';
  if (verb === undefined && !top) {
    // Docker's way: a group alone is not wrong, but what it prints is not its output either.
    cli.warn(await help(cli, table, path));
    return 0;
  }
  if (verb === 'help' && rest.length > 0) return dispatch(cli, [...rest, '--help'], table, path);
  if (verb === undefined || verb === '--help' || verb === '-h' || verb === 'help') {
    cli.print(await help(cli, table, path));
    return 0;
  }
  if (top && (verb === 'builder' || verb === 'build') && cli.config.aliases['builder']) {
    const name = cli.config.aliases['builder'];
    return runAlias(cli, name, verb === 'build' ? [verb, ...rest] : rest);
  }
  const found = Object.hasOwn(table, verb) ? table[verb] : undefined;
  if (!found) return top ? foreign(cli, verb, rest) : unknown(table, path, verb);
  if ('commands' in found) return dispatch(cli, rest, found.commands, `${path} ${verb}`);
  const command = await found.load();
  return command.execute(cli, `${path} ${verb}`, rest);
}

async function help(cli: Cli, table: Table, path: string): Promise<string> {
  const { overview } = await import('./overview.ts');
  if (path !== 'tare') return overview(table, path);
  const { listPlugins } = await import('./plugins.ts');
  const plugins = await listPlugins(cli);
  return overview(
    table,
    path,
    plugins.filter(({ name }) => !Object.hasOwn(table, name)),
  );
}

/** A command that is not ours: a plugin's, or nobody's. */
async function foreign(cli: Cli, verb: string, rest: readonly string[]): Promise<number> {
  const { pluginPath, runPlugin } = await import('./plugins.ts');
  const path = pluginPath(cli, verb);
  if (path !== undefined) return runPlugin(cli, path, [verb, ...rest]);
  if (!plugins.includes(verb)) return unknown(commandTable, 'tare', verb);
  throw new CliError(
    `tare: '${verb}' is a plugin of the docker command line, and not installed: install Docker's package docker-${verb}-plugin, or put the program docker-${verb} into ${cli.config.folder}/cli-plugins`,
  );
}

/** Plugins that every user of docker knows, and takes for commands of its own. */
const plugins = ['buildx', 'compose'];

async function runAlias(cli: Cli, name: string, args: readonly string[]): Promise<number> {
  const { pluginPath, runPlugin } = await import('./plugins.ts');
  const path = pluginPath(cli, name);
  if (path === undefined) {
    throw new CliError(
      `the configuration says that builds are the plugin's ${JSON.stringify(name)}, which is not installed: install it, or take "builder" out of "aliases" in ${cli.config.path}`,
    );
  }
  return runPlugin(cli, path, [name, ...args]);
}

/** Docker's commands for swarms. */
const swarm = ['config', 'node', 'secret', 'service', 'stack', 'swarm'];

async function unknown(table: Table, path: string, verb: string): Promise<never> {
  if (path === 'tare' && swarm.includes(verb)) {
    throw new CliError(
      'This node is not a swarm manager, and cannot become one: Tare runs containers of one machine. Use compose for an application there, or Kubernetes for many machines',
    );
  }
  const { suggestion } = await import('../suggest.ts');
  const meant = suggestion(verb, Object.keys(table));
  const hint = meant === undefined ? '' : `\n\nDid you mean '${path} ${meant}'?`;
  const usage = path === 'tare' ? '' : `Usage:  ${path}\n\n`;
  throw new UsageError(
    `tare: unknown command: ${path} ${verb}${hint}\n\n${usage}Run '${path} --help' for more information`,
  );
}
