/** The shape of a command, and the reading of its arguments. */
import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';
import type { Container, Runtime } from '@tare/runtime-native';

import { CommandError, UsageError } from './errors.ts';
import type { Log } from './log.ts';

type Options = NonNullable<ParseArgsConfig['options']>;
type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

/** What every command works with. */
export interface Context {
  runtime: Runtime;
  log: Log;
  /** Whether `cgroupsPath` is `slice:prefix:name`. */
  systemdCgroup: boolean;
}

/** A command's own arguments. */
export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: Values;

  constructor(values: Values, positionals: readonly string[]) {
    this.#values = values;
    this.positionals = positionals;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  texts(name: string): string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.map(String) : [];
  }

  /** @throws {UsageError} for anything but a whole number in decimal, or hexadecimal with 0x */
  number(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^-?(?:\d+|0[xX][0-9a-fA-F]+)$/.test(text) ? Number(text) : NaN;
    if (!Number.isSafeInteger(value))
      throw new UsageError(`invalid value "${text}" for flag -${name}: parse error`);
    return value;
  }
}

/** One command. */
export interface Command {
  /** What follows the name in its usage. */
  usage: string;
  summary: string;
  options: Options;
  /** How many positional arguments it takes. */
  takes: { min?: number; max?: number; exact?: number };
  /** What follows the first positional argument belongs to the program of the container, options too. */
  passes?: boolean;
  /** Resolves with the exit code, 0 for nothing. */
  run(context: Context, args: Arguments): Promise<number | void>;
}

/** Go's flag package takes one dash for two. */
function withTwoDashes(arg: string): string {
  return /^-[a-z][a-z-]+(?:=|$)/.test(arg) ? `-${arg}` : arg;
}

/** Options until the first argument that is none. */
function untilPositional(args: readonly string[], options: Options): number {
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === '--') return at + 1;
    if (!arg.startsWith('-') || arg === '-') return at;
    const name = arg.replace(/^-+/, '').split('=')[0]!;
    const long = options[name] ?? Object.values(options).find(({ short }) => short === name);
    if (long?.type === 'string' && !arg.includes('=')) at++;
  }
  return args.length;
}

/** Reads `args`. @throws {UsageError} */
export function readArguments(name: string, command: Command, args: readonly string[]): Arguments {
  const { options, takes, passes = false } = command;
  const words = args.map(withTwoDashes);
  const end = untilPositional(words, options);
  // of a command with a program, only what comes before the container's name
  const own = passes ? words.slice(0, end) : words;
  let values: Values;
  let positionals: string[];
  try {
    ({ values, positionals } = parseArgs({ args: own, options, allowPositionals: true, strict: true }));
  } catch (error) {
    const [, unknown] = /Unknown option '-+([^']+)'/.exec((error as Error).message) ?? [];
    throw new UsageError(
      unknown === undefined ? (error as Error).message : `flag provided but not defined: -${unknown}`,
    );
  }
  if (passes) positionals = [...positionals, ...args.slice(end)];
  checkCount(name, positionals.length, takes);
  return new Arguments(values, positionals);
}

function checkCount(name: string, count: number, { exact, min, max }: Command['takes']): void {
  if (exact !== undefined && count !== exact)
    throw new UsageError(`"${name}" requires exactly ${exact} argument(s)`);
  if (min !== undefined && count < min)
    throw new UsageError(`"${name}" requires a minimum of ${min} argument(s)`);
  if (max !== undefined && count > max)
    throw new UsageError(`"${name}" requires a maximum of ${max} argument(s)`);
}

/** The container that the first argument names. @throws {CommandError} without a name */
export async function namedContainer({ runtime }: Context, args: Arguments): Promise<Container> {
  const [id] = args.positionals;
  if (!id) throw new CommandError('container id cannot be empty');
  return runtime.load(id);
}
