/** Typed flags: a command declares them, commander stores and documents them, Docker's spelling is accepted. */
import type { Option } from 'commander';
import { UsageError, messageOf } from './errors.ts';
import { parseBoolean } from './values/mounts.ts';

/** One flag of a command, and how its text becomes a value. */
export interface Flag<T> {
  /** One letter, for `-x`. */
  readonly short?: string;
  readonly help: string;
  /** What stands for the value in the help (`string`, `list`, `bytes`); a flag without one is a switch. */
  readonly placeholder?: string;
  /** The value when the flag is absent. */
  readonly initial: T;
  /** Another spelling that means the same and is not shown, such as `net` for `network`. */
  readonly alias?: string;
  /** Turns one occurrence into a value; `previous` is the value so far. */
  parse(text: string, previous: T): T;
}

/** The flags of a command by camelCase name; `noTrunc` is spelled `--no-trunc`. */
export type FlagSet = Readonly<Record<string, Flag<unknown>>>;

/** The values the flags of a set have after parsing. */
export type FlagValues<F extends FlagSet> = { -readonly [K in keyof F]: F[K]['initial'] };

type Details = Pick<Flag<unknown>, 'short' | 'alias'>;

/** `--all`, `--all=false`. */
export function toggle(help: string, details: Details & { initial?: boolean } = {}): Flag<boolean> {
  return {
    help,
    ...details,
    initial: details.initial ?? false,
    parse(text) {
      const value = parseBoolean(text);
      if (value === undefined)
        throw new UsageError(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
      return value;
    },
  };
}

/** A text; the last occurrence wins. */
export function string(help: string, details: Details & { initial?: string } = {}): Flag<string> {
  return { help, placeholder: 'string', ...details, initial: details.initial ?? '', parse: (text) => text };
}

/** A whole number. */
export function integer(help: string, details: Details & { initial?: number } = {}): Flag<number> {
  return { help, placeholder: 'int', ...details, initial: details.initial ?? 0, parse: wholeNumber };
}

/** A whole number that may be left out. */
export function optionalInteger(help: string, details: Details = {}): Flag<number | undefined> {
  return { help, placeholder: 'int', ...details, initial: undefined, parse: wholeNumber };
}

function wholeNumber(text: string): number {
  if (!/^[+-]?\d+$/.test(text))
    throw new UsageError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

/** A flag that may be repeated; values keep their order. */
export function list(
  help: string,
  details: Details & { placeholder?: string } = {},
): Flag<readonly string[]> {
  return listOf((text) => text, help, details);
}

/** As {@link list}, each value parsed (and so checked) as it is met. */
export function listOf<T>(
  parse: (text: string) => T,
  help: string,
  details: Details & { placeholder?: string } = {},
): Flag<readonly T[]> {
  return {
    help,
    placeholder: 'list',
    ...details,
    initial: [],
    parse: (text, previous) => [...previous, parse(text)],
  };
}

/** One value with a grammar of its own; the last occurrence wins. */
export function parsed<T>(
  parse: (text: string) => T,
  placeholder: string,
  initial: T,
  help: string,
  details: Details = {},
): Flag<T> {
  return { help, placeholder, ...details, initial, parse };
}

/** `noTrunc` → `no-trunc`. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** How Docker names a flag in an error: `-f, --filter`. */
function display(key: string, flag: Flag<unknown>): string {
  return flag.short ? `-${flag.short}, --${flagName(key)}` : `--${flagName(key)}`;
}

/** A commander option for a flag. Values always arrive as `--name=text`, see {@link spellOut}. */
export function toOption(OptionClass: typeof Option, key: string, flag: Flag<unknown>): Option {
  const names = flag.short ? `-${flag.short}, --${flagName(key)}` : `--${flagName(key)}`;
  const option = new OptionClass(
    flag.placeholder ? `${names} <${flag.placeholder}>` : `${names} [bool]`,
    flag.help,
  );
  // `--no-trunc` is a flag of that name to Docker, not the negation of `--trunc`.
  option.negate = false;
  option.default(flag.initial);
  option.argParser((text: string, previous: unknown) => {
    try {
      return (flag as Flag<unknown>).parse(text, previous);
    } catch (cause) {
      throw new UsageError(
        `invalid argument ${JSON.stringify(text)} for ${JSON.stringify(display(key, flag))} flag: ${messageOf(cause)}`,
        { exitCode: 125, cause },
      );
    }
  });
  return option;
}

/**
 * Rewrites a command line from pflag's spellings into the one commander reads without ambiguity: every flag becomes
 * `--name=value`. Understood are `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `-it`, and
 * switches with a value (`--rm=false`).
 *
 * @param interspersed whether flags may follow the first positional argument; if not, everything from there on is kept
 * @throws {UsageError} exit code 125, for an unknown flag or a missing value, worded as pflag's
 */
export function spellOut(argv: readonly string[], flags: FlagSet, interspersed: boolean): string[] {
  const byName = new Map<string, [key: string, flag: Flag<unknown>]>();
  const byShort = new Map<string, [key: string, flag: Flag<unknown>]>();
  for (const entry of Object.entries(flags)) {
    byName.set(flagName(entry[0]), entry);
    if (entry[1].alias) byName.set(entry[1].alias, entry);
    if (entry[1].short) byShort.set(entry[1].short, entry);
  }
  const options: string[] = [];
  const positionals: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    if (word === '--') {
      positionals.push(...argv.slice(at + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      positionals.push(...(interspersed ? [word] : argv.slice(at)));
      if (interspersed) continue;
      break;
    }
    const take = (missing: string): string => {
      const value = argv[++at];
      if (value === undefined) throw new UsageError(`flag needs an argument: ${missing}`, { exitCode: 125 });
      return value;
    };
    if (word.startsWith('--')) options.push(longFlag(word, byName, take));
    else options.push(...shortFlags(word, byShort, take));
  }
  return [...options, '--', ...positionals];
}

type ByName = ReadonlyMap<string, [key: string, flag: Flag<unknown>]>;

function longFlag(word: string, byName: ByName, take: (missing: string) => string): string {
  const equals = word.indexOf('=');
  const name = word.slice(2, equals === -1 ? undefined : equals);
  if (name === 'help' && !byName.has(name)) return '--help';
  const found = byName.get(name);
  if (!found) throw new UsageError(`unknown flag: --${name}`, { exitCode: 125 });
  const [key, flag] = found;
  let value: string;
  if (equals !== -1) value = word.slice(equals + 1);
  else value = flag.placeholder ? take(`--${name}`) : 'true';
  return `--${flagName(key)}=${value}`;
}

/** Some of many flags. */
export function pick<Flags, Name extends keyof Flags>(all: Flags, names: readonly Name[]): Pick<Flags, Name> {
  return Object.fromEntries(names.map((name) => [name, all[name]])) as Pick<Flags, Name>;
}

function shortFlags(word: string, byShort: ByName, take: (missing: string) => string): string[] {
  const out: string[] = [];
  for (let at = 1; at < word.length; at++) {
    const letter = word[at]!;
    const found = byShort.get(letter);
    if (!found && letter === 'h') return [...out, '--help'];
    if (!found) throw new UsageError(`unknown shorthand flag: '${letter}' in ${word}`, { exitCode: 125 });
    const [key, flag] = found;
    const rest = word.slice(at + 1);
    if (rest.startsWith('=')) return [...out, `--${flagName(key)}=${rest.slice(1)}`];
    if (!flag.placeholder) {
      out.push(`--${flagName(key)}=true`);
      continue;
    }
    const value = rest === '' ? take(`'${letter}' in ${word}`) : rest;
    return [...out, `--${flagName(key)}=${value}`];
  }
  return out;
}
