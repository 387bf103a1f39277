/** The command line: global options, the command, its exit code. */
import { constants, openSync, closeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createNativeRuntime } from '@tare/runtime-native';

import { readArguments } from './command.ts';
import type { Command } from './command.ts';
import { create, run } from './commands/create.ts';
import { events } from './commands/events.ts';
import { exec } from './commands/exec.ts';
import { kill, pause, remove, resume, start } from './commands/life.ts';
import { features, list, ps, spec, state } from './commands/show.ts';
import { update } from './commands/update.ts';
import { CommandError, UsageError, describe } from './errors.ts';
import { log, print } from './log.ts';
import type { Log } from './log.ts';
import { SPEC_VERSION } from './state.ts';

const NAME = 'oci-runtime';
const VERSION = '0.1.0';
const DEFAULT_ROOT = '/run/oci-runtime';

/** A command that does not exist. */
const UNKNOWN_COMMAND = 3;

const COMMANDS: Readonly<Record<string, Command>> = {
  create,
  delete: remove,
  events,
  exec,
  features,
  kill,
  list,
  pause,
  ps,
  resume,
  run,
  spec,
  start,
  state,
  update,
};

/** Commands whose failures say so. */
const ANNOUNCED: Readonly<Record<string, string>> = {
  create: `${NAME} create failed: `,
  run: `${NAME} run failed: `,
  exec: 'exec failed: ',
};

const GLOBALS = {
  root: { type: 'string' },
  log: { type: 'string' },
  'log-format': { type: 'string' },
  'systemd-cgroup': { type: 'boolean' },
  debug: { type: 'boolean' },
  rootless: { type: 'string' },
  criu: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

type Globals = ReturnType<typeof parseArgs<{ options: typeof GLOBALS }>>['values'];

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `   ${name.padEnd(10)}  ${summary}`);
  return `Usage: ${NAME} [global options] command [command options] [arguments...]\n\nCommands:\n${lines.join('\n')}\n\nGlobal options: ${Object.keys(
    GLOBALS,
  )
    .map((name) => `--${name}`)
    .join(', ')}\n`;
}

function usageOf(name: string, command: Command): string {
  const options = Object.keys(command.options).map((option) => `--${option}`);
  const listed = options.length > 0 ? `\nOptions: ${options.join(', ')}\n` : '';
  return `${NAME} ${name} - ${command.summary}\n\nUsage: ${NAME} ${name} ${command.usage}\n${listed}`;
}

/** Splits the command line at the command's name. */
function split(argv: readonly string[]): { before: string[]; name: string | undefined; after: string[] } {
  const words = argv.map((word) => (/^-[a-z][a-z-]+(?:=|$)/.test(word) ? `-${word}` : word));
  let at = 0;
  for (; at < words.length && words[at]!.startsWith('-'); at++) {
    const option = words[at]!.slice(2);
    if (option in GLOBALS && GLOBALS[option as keyof typeof GLOBALS].type === 'string') at++;
  }
  return { before: words.slice(0, at), name: argv[at], after: argv.slice(at + 1) };
}

function readGlobals(before: string[]): { values: Globals; to: Log } {
  let values: Globals;
  try {
    ({ values } = parseArgs({ args: before, options: GLOBALS }));
  } catch (error) {
    const [, unknown] = /Unknown option '-+([^']+)'/.exec((error as Error).message) ?? [];
    throw new UsageError(unknown ? `flag provided but not defined: -${unknown}` : (error as Error).message);
  }
  const { log: file, 'log-format': format = 'text', debug = false } = values;
  if (format !== 'text' && format !== 'json') throw new CommandError(`invalid log-format: ${format}`);
  return { values, to: { file, format, debug } };
}

/** The log must be there also when nothing is said: engines open it. */
function touch(path: string): void {
  closeSync(openSync(path, constants.O_CREAT | constants.O_APPEND | constants.O_WRONLY, 0o644));
}

async function perform(argv: readonly string[], logs: { to: Log }): Promise<number> {
  const { before, name, after } = split(argv);
  let values: Globals;
  ({ values, to: logs.to } = readGlobals(before));
  if (logs.to.file !== undefined) touch(logs.to.file);
  if (values.version) {
    print(1, `${NAME} version ${VERSION}\nspec: ${SPEC_VERSION}\n`);
    return 0;
  }
  if (values.help || name === undefined || name === 'help') {
    print(1, usage());
    return 0;
  }
  const command = COMMANDS[name];
  if (!command) throw new CommandError(`No help topic for '${name}'`, { exitCode: UNKNOWN_COMMAND });
  if (after.includes('--help') && !command.passes) {
    print(1, usageOf(name, command));
    return 0;
  }
  try {
    const args = readArguments(name, command, after);
    const runtime = createNativeRuntime({
      stateDirectory: values.root ?? DEFAULT_ROOT,
      cgroupRoot: '',
      onWarning: (warning) => log(logs.to, 'warning', describe(warning)),
    });
    const context = { runtime, log: logs.to, systemdCgroup: values['systemd-cgroup'] ?? false };
    return (await command.run(context, args)) ?? 0;
  } catch (error) {
    if (error instanceof UsageError) {
      print(1, `Incorrect Usage.\n\n${usageOf(name, command)}\n`);
      throw new CommandError(`${NAME}: ${error.message}`, { cause: error });
    }
    throw new CommandError(`${ANNOUNCED[name] ?? ''}${describe(error)}`, {
      exitCode: (error as { exitCode?: number }).exitCode ?? 1,
      cause: error,
    });
  }
}

async function main(): Promise<void> {
  const logs: { to: Log } = { to: { file: undefined, format: 'text', debug: false } };
  // should nothing be left to wait for before the end is reached
  process.exitCode = 1;
  try {
    process.exitCode = await perform(process.argv.slice(2), logs);
  } catch (error) {
    log(logs.to, 'error', describe(error));
    process.exitCode = (error as { exitCode?: number }).exitCode ?? 1;
  }
}

void main();
