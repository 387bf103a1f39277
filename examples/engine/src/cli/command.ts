/** Commands: a typed declaration, compiled into a commander command. */
import { Command, Help, Option } from 'commander';
import type { Cli } from './cli.ts';
import { UsageError } from './errors.ts';
import { spellOut, toOption, type FlagSet, type FlagValues } from './flags.ts';

/** What a command's `run` is given. */
export interface Invocation<F extends FlagSet> {
  cli: Cli;
  flags: FlagValues<F>;
  args: string[];
  /** The flags the user gave, by key, whatever their value. */
  given: ReadonlySet<string>;
}

/** A command as its module declares it. */
export interface CommandSpec<F extends FlagSet> {
  /** What follows the command's name in `Usage:`, for example `[OPTIONS] IMAGE`. */
  usage: string;
  summary: string;
  flags: F;
  /** How many arguments it takes; the default maximum is the minimum. */
  args: { min: number; max?: number };
  /** Everything after the first argument belongs to the container's command line. Default false. */
  stopsAtArgument?: boolean;
  /** Returns the exit code, nothing for 0. Errors are printed by `main`. */
  run(invocation: Invocation<F>): Promise<number | void>;
}

/** A command whose flag types only its own `run` needs to know. */
export interface AnyCommand {
  usage: string;
  summary: string;
  flags: FlagSet;
  /** Parses the arguments after the command's name and runs it. */
  execute(cli: Cli, path: string, argv: readonly string[]): Promise<number>;
}

/** Declares a command; its flags are typed by their declarations. */
export function defineCommand<const F extends FlagSet>(spec: CommandSpec<F>): AnyCommand {
  return {
    usage: spec.usage,
    summary: spec.summary,
    flags: spec.flags,
    async execute(cli, path, argv) {
      const command = toCommander(spec, cli, path);
      const hint = `Usage:  ${path} ${spec.usage}\n\nRun '${path} --help' for more information`;
      let words: string[];
      try {
        words = spellOut(argv, spec.flags, !spec.stopsAtArgument);
        if (words[0] !== '--' && words.slice(0, words.indexOf('--')).includes('--help')) {
          cli.print(command.helpInformation());
          return 0;
        }
        command.parse(words, { from: 'user' });
      } catch (error) {
        if (error instanceof UsageError)
          throw new UsageError(`${error.message}\n\n${hint}`, { exitCode: 125, cause: error });
        throw error;
      }
      const args = command.args;
      checkCount(spec, path, args.length);
      const given = new Set(
        Object.keys(spec.flags).filter((key) => command.getOptionValueSource(key) === 'cli'),
      );
      const flags = command.opts() as FlagValues<F>;
      return (await spec.run({ cli, flags, args, given })) ?? 0;
    },
  };
}

function toCommander(spec: CommandSpec<FlagSet>, cli: Cli, path: string): Command {
  const command = new Command(path)
    .usage(spec.usage)
    .description(spec.summary)
    .allowExcessArguments()
    .helpOption('--help', 'Print usage')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .configureHelp(dockerHelp(cli.columns));
  if (spec.stopsAtArgument) command.passThroughOptions();
  command.argument('[args...]');
  for (const [key, flag] of Object.entries(spec.flags)) command.addOption(toOption(Option, key, flag));
  return command;
}

function checkCount(spec: CommandSpec<FlagSet>, path: string, count: number): void {
  const { min, max = min } = spec.args;
  if (count >= min && count <= max) return;
  const noun = (number: number): string => `${number} argument${number === 1 ? '' : 's'}`;
  let need = `requires ${noun(min)}`;
  if (max === 0) need = 'accepts no arguments';
  else if (max === Infinity) need = `requires at least ${noun(min)}`;
  else if (min !== max)
    need = count < min ? `requires at least ${noun(min)}` : `requires at most ${noun(max)}`;
  const verb = need.startsWith('requires at least') ? 'See' : 'Run';
  throw new UsageError(
    `tare: '${path}' ${need}\n\nUsage:  ${path} ${spec.usage}\n\n${verb} '${path} --help' for more information`,
  );
}

/** commander's help in the layout Docker's users know. */
export function dockerHelp(columns: number): Partial<Help> {
  return {
    helpWidth: Math.min(columns || 80, 100),
    visibleArguments: () => [],
    optionTerm(option) {
      const long = option.flags.replace(/ \[bool\]$/, '').replace(/ <(.*)>$/, ' $1');
      return option.short ? long : `    ${long}`;
    },
    formatHelp(command, helper) {
      const options = helper.visibleOptions(command).sort((a, b) => (a.name() < b.name() ? -1 : 1));
      const width = Math.max(0, ...options.map((option) => helper.optionTerm(option).length));
      const indent = ' '.repeat(width + 5);
      const rows = options.map((option) => {
        const note = describeDefault(option);
        const lines = helper
          .boxWrap(option.description + note, (helper.helpWidth ?? 80) - width - 5)
          .split('\n');
        return `  ${helper.optionTerm(option).padEnd(width)}   ${lines.join(`\n${indent}`)}`;
      });
      const sections = [`Usage:  ${command.name()} ${command.usage()}`, command.description()];
      if (rows.length > 0) sections.push(`Options:\n${rows.join('\n')}`);
      return `${sections.join('\n\n')}\n`;
    },
  };
}

function describeDefault(option: Option): string {
  const value = option.defaultValue as unknown;
  if (typeof value === 'string' && value !== '') return ` (default ${JSON.stringify(value)})`;
  return value === true || (typeof value === 'number' && value !== 0) ? ` (default ${value})` : '';
}
