/** The `tare` command line: finds the command, runs it, and turns whatever it throws into a message and an exit code. */
import { Cli, type GlobalFlags, type Surroundings } from './cli.ts';
import { commandTable, type Entry } from './command-table.ts';
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
    if (globals.version) return await dispatch(cli, ['version'], commandTable, 'tare');
    return await dispatch(cli, rest, commandTable, 'tare');
  } catch (error) {
    if (error instanceof ExitError) return error.exitCode;
    surroundings.stderr.write(`${messageOf(error)}\n`);
    if (globalsDebug(argv) && error instanceof Error) surroundings.stderr.write(`${error.stack}\n`);
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

/** Flags before the command that take a value. */
const globalValues: Record<string, 'host' | 'config' | 'tlscacert' | 'tlscert' | 'tlskey' | 'ignored'> = {
  '-H': 'host',
  '--host': 'host',
  '--config': 'config',
  '--tlscacert': 'tlscacert',
  '--tlscert': 'tlscert',
  '--tlskey': 'tlskey',
  '-l': 'ignored',
  '--log-level': 'ignored',
  '-c': 'ignored',
  '--context': 'ignored',
};

function globalsDebug(argv: readonly string[]): boolean {
  return argv[0] === '-D' || argv[0] === '--debug';
}

/** Takes the global flags off the front. Anything else with a dash there is an error. */
function splitGlobals(argv: readonly string[]): {
  globals: GlobalFlags & { version: boolean };
  rest: string[];
} {
  const globals = {
    host: '',
    config: '',
    debug: false,
    version: false,
    tls: { tls: false, tlsverify: false, tlscacert: '', tlscert: '', tlskey: '' },
  };
  const words = [...argv];
  while (words[0]?.startsWith('-')) {
    const word = words.shift()!;
    if (word === '--help' || word === '-h') return { globals, rest: ['--help'] };
    if (word === '-v' || word === '--version') globals.version = true;
    else if (word === '-D' || word === '--debug') globals.debug = true;
    else if (word === '--tls') globals.tls.tls = true;
    else if (word === '--tlsverify') globals.tls.tlsverify = true;
    else {
      const { name, value } = valueOf(word, words);
      const key = globalValues[name];
      if (!key)
        throw new UsageError(
          `unknown flag: ${word}\n\nUsage:  tare [OPTIONS] COMMAND [ARG...]\n\nRun 'tare --help' for more information`,
          { exitCode: 125 },
        );
      if (value === undefined) throw new UsageError(`flag needs an argument: ${name}`, { exitCode: 125 });
      if (key === 'host' || key === 'config') globals[key] = value;
      else if (key !== 'ignored') globals.tls[key] = value;
    }
  }
  return { globals, rest: words };
}

/** `--host=x`, `--host x`, `-H x`, `-Hx`; takes a separate value off `words`. */
function valueOf(word: string, words: string[]): { name: string; value: string | undefined } {
  if (word.startsWith('--')) {
    const at = word.indexOf('=');
    if (at !== -1) return { name: word.slice(0, at), value: word.slice(at + 1) };
    return { name: word, value: globalValues[word] ? words.shift() : undefined };
  }
  const name = word.slice(0, 2);
  if (word.length > 2) return { name, value: word.slice(2).replace(/^=/, '') };
  return { name, value: globalValues[name] ? words.shift() : undefined };
}

async function dispatch(
  cli: Cli,
  [verb, ...rest]: readonly string[],
  table: Readonly<Record<string, Entry>>,
  path: string,
): Promise<number> {
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

function overview(table: Readonly<Record<string, Entry>>, path: string): string {
  const shown = Object.entries(table).filter(([, entry]) => !('hidden' in entry));
  const width = Math.max(...shown.map(([name]) => name.length));
  const rows = (groups: boolean): string =>
    shown
      .filter(([, entry]) => 'commands' in entry === groups)
      .map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}\n`)
      .join('');
  const top = path === 'tare';
  return [
    `Usage:  ${path} ${top ? '[OPTIONS] COMMAND' : 'COMMAND'}\n`,
    top ? 'Containers made of npm packages\n' : '',
    rows(true) && `Management Commands:\n${rows(true)}`,
    `Commands:\n${rows(false)}`,
    top ? globalHelp : '',
    `Run '${path} COMMAND --help' for more information on a command.`,
  ]
    .filter((section) => section !== '')
    .join('\n');
}

const globalHelp = `Global Options:
      --config string   Location of client config files (default "~/.docker")
  -D, --debug           Show where an error comes from
  -H, --host string     Daemon to connect to; also TARE_HOST or DOCKER_HOST (default "unix:///run/tare.sock")
      --tls             Use TLS; implied by --tlsverify
      --tlscacert, --tlscert, --tlskey string   PEM files (default ca.pem, cert.pem, key.pem in ~/.docker)
      --tlsverify       Use TLS and verify the remote
  -v, --version         Print version information and quit
`;
