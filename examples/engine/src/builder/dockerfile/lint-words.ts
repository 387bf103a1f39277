/** What all rules work with: what they look at, how they tell of it, and variables in words. Pure. */
import { closest } from './closest.ts';
import { expandIn, type WordContext } from './config-instructions.ts';
import { DockerfileError, type Place } from './errors.ts';
import type { LintRule, LintSettings, RuleName } from './lint-rules.ts';
import type { DockerfileText, Instruction } from './parser.ts';
import type { BuildPlan } from './stages.ts';
import { splitWords, type Lookup } from './words.ts';

/** A rule that is broken somewhere. */
export interface LintWarning {
  readonly rule: LintRule;
  readonly detail: string;
  /** Undefined for what is about the whole file. */
  readonly place: Place | undefined;
}

/** What is looked at. */
export interface LintInput {
  file: DockerfileText;
  plan: BuildPlan;
  settings: LintSettings;
  platformArgs: Readonly<Record<string, string>>;
  buildArgs: Readonly<Record<string, string | null>>;
  /** Names of the variables that a base image sets; undefined when they are not known. */
  baseVariables(reference: string): readonly string[] | undefined;
  /** Whether a path is kept from the context. Default: nothing is. */
  ignores?: ((path: string) => boolean) | undefined;
}

/** Tells of something. */
export type Warn = (rule: RuleName, detail: string, place: Place | undefined) => void;

/** Names of the variables that an instruction sets. */
export function namesSetBy({ keyword, args }: Instruction, { escape }: DockerfileText): string[] {
  if (keyword !== 'ARG' && keyword !== 'ENV') return [];
  const words = splitWords(args, escape);
  // the old form of ENV has one name
  const assignments = keyword === 'ENV' && words[0]?.includes('=') !== true ? words.slice(0, 1) : words;
  return assignments.map((word) => word.split('=', 1)[0]!);
}

/** Names in `text` that are used and not set. What cannot be read is the build's to complain of. */
export function unsetIn(
  instruction: Instruction,
  text: string,
  lookup: Lookup,
  { escape }: DockerfileText,
): string[] {
  const unset: string[] = [];
  expanded(instruction, text, lookup, { escape }, (name) => unset.push(name));
  return unset.filter((name) => /^[A-Za-z_]/.test(name));
}

/** The text with its variables in place; undefined when it cannot be read. */
export function expanded(
  instruction: Instruction,
  text: string,
  lookup: Lookup,
  { escape }: Pick<DockerfileText, 'escape'>,
  onUnset?: (name: string) => void,
): string | undefined {
  const words: WordContext = { lookup, escape, ...(onUnset ? { onUnset } : {}) };
  try {
    return expandIn(instruction, text, words);
  } catch (error) {
    if (error instanceof DockerfileError) return undefined;
    throw error;
  }
}

/** What a name was perhaps meant to be, in brackets. */
export function hint(name: string, known: ReadonlySet<string>, sign = ''): string {
  const meant = closest(name, known);
  return meant === undefined ? '' : ` (did you mean ${sign}${meant}?)`;
}
