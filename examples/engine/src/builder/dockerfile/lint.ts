/** Finds what in a Dockerfile is allowed and probably not meant. Pure. */
import { parseReference } from '@tare/image-spec';

import { lintRule } from './lint-rules.ts';
import { lintStage, type Known } from './lint-stage.ts';
import {
  expanded,
  hint,
  namesSetBy,
  unsetIn,
  type LintInput,
  type LintWarning,
  type Warn,
} from './lint-words.ts';
import type { DockerfileText, Instruction } from './parser.ts';
import { declaredArgs, type BuildPlan, type Stage } from './stages.ts';
import { splitWords, type Lookup } from './words.ts';

export type { LintInput, LintWarning } from './lint-words.ts';

/** Everything that breaks a rule, by line. */
export function lint(input: LintInput): LintWarning[] {
  const warnings: LintWarning[] = [];
  const { skip } = input.settings;
  const warn: Warn = (name, detail, place) => {
    if (skip !== true && !skip.has(name.toLowerCase()))
      warnings.push({ rule: lintRule(name), detail, place });
  };
  lintCasing(input.file, warn);
  lintStageNames(input.plan, warn);
  lintFroms(input, warn);
  const known = new Map<number, Known>();
  for (const stage of input.plan.stages) known.set(stage.index, lintStage(stage, input, known, warn));
  for (const instruction of input.file.instructions) lintInstruction(instruction, input, warn);
  return warnings.sort((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0));
}

function keywordOf({ source }: Instruction): string {
  return /\S+/.exec(source)?.[0] ?? '';
}

function lintCasing({ instructions }: DockerfileText, warn: Warn): void {
  const words = instructions.map(keywordOf);
  const lower = words.filter((word) => word === word.toLowerCase()).length;
  const upper = words.filter((word) => word === word.toUpperCase()).length;
  const [wanted, right] =
    lower > upper
      ? ['lowercase', (word: string) => word.toLowerCase()]
      : ['uppercase', (word: string) => word.toUpperCase()];
  for (const [i, word] of words.entries()) {
    if (word === (right as (word: string) => string)(word)) continue;
    const detail = `Command '${word}' should match the case of the command majority (${wanted as string})`;
    warn('ConsistentInstructionCasing', detail, instructions[i]);
  }
}

const RESERVED_NAMES = new Set(['scratch', 'context']);

function lintStageNames({ stages }: BuildPlan, warn: Warn): void {
  const seen = new Set<string>();
  for (const { name, from } of stages) {
    const [, as = '', written = ''] = /\s(as)\s+(\S+)\s*$/i.exec(from.args) ?? [];
    if (name === undefined) continue;
    if (written !== name) warn('StageNameCasing', `Stage name '${written}' should be lowercase`, from);
    if ((as === as.toLowerCase()) !== (keywordOf(from) === keywordOf(from).toLowerCase())) {
      warn('FromAsCasing', `'${as}' and '${keywordOf(from)}' keywords' casing do not match`, from);
    }
    if (RESERVED_NAMES.has(name)) {
      const detail = `Stage name should not use the same name as reserved stage "${name}"`;
      warn('ReservedStageName', detail, from);
    }
    if (seen.has(name))
      warn('DuplicateStageName', `Duplicate stage name "${name}", stage names should be unique`, from);
    seen.add(name);
  }
}

function lintFroms({ plan, platformArgs, file }: LintInput, warn: Warn): void {
  const defaults = defaultsBefore(plan, file, platformArgs);
  const names = [...plan.globalArgs.keys(), ...Object.keys(platformArgs)];
  const declared = new Set([...names, ...defaults.declared]);
  for (const stage of plan.stages) {
    const { from } = stage;
    const [image = ''] = splitWords(from.args, file.escape);
    const platform = from.flags.find((flag) => flag.name === 'platform')?.value ?? '';
    for (const word of [platform, image]) {
      for (const name of unsetIn(from, word, (one) => (declared.has(one) ? 'x' : undefined), file)) {
        warn('UndefinedArgInFrom', `FROM argument '${name}' is not declared${hint(name, declared)}`, from);
      }
    }
    if (/^\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(platform)) {
      const detail =
        'Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior';
      warn('RedundantTargetPlatform', detail, from);
    } else if (platform !== '' && !platform.includes('$') && !isNamedAfter(stage, platform)) {
      const detail = `FROM --platform flag should not use constant value "${platform}"`;
      warn('FromPlatformFlagConstDisallowed', detail, from);
    }
    if (image.includes('$') && !isImageName(expanded(from, image, defaults.lookup, file))) {
      const detail = `Default value for ARG ${image} results in empty or invalid base image name`;
      warn('InvalidDefaultArgInFrom', detail, from);
    }
  }
}

/** A stage for one platform that says so: others choose among its like. */
function isNamedAfter({ name }: Stage, platform: string): boolean {
  return platform.split('/').some((part) => part !== '' && name?.includes(part) === true);
}

/** The global arguments as they are when a client gives none. */
function defaultsBefore(
  { globalArgs }: BuildPlan,
  { instructions, escape }: DockerfileText,
  platformArgs: Readonly<Record<string, string>>,
): { lookup: Lookup; declared: readonly string[] } {
  const values = new Map<string, string>();
  const declared: string[] = [];
  const lookup: Lookup = (name) => values.get(name) ?? platformArgs[name];
  for (const instruction of instructions) {
    if (instruction.keyword === 'FROM') break;
    for (const { name, value } of declaredArgs(instruction, { lookup, escape })) {
      declared.push(name);
      if (value !== undefined) values.set(name, value);
    }
  }
  return { lookup, declared: [...declared, ...globalArgs.keys()] };
}

function isImageName(text: string | undefined): boolean {
  try {
    return text !== undefined && parseReference(text) !== undefined;
  } catch {
    return false;
  }
}

const SECRET = /(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)/i;
const PUBLIC = /(?:_|^)public(?:_|$)/i;

function lintInstruction(instruction: Instruction, { file, ignores }: LintInput, warn: Warn): void {
  const { keyword, args, source, heredocs, flags } = instruction;
  const [first = '', second] = splitWords(args, file.escape);
  if (
    heredocs.length === 0 &&
    source
      .split('\n')
      .slice(1)
      .some((line) => line.trim() === '')
  ) {
    warn('NoEmptyContinuation', 'Empty continuation line', instruction);
  }
  if (keyword === 'MAINTAINER') {
    warn('MaintainerDeprecated', 'Maintainer instruction is deprecated in favor of using label', instruction);
  }
  if ((keyword === 'ENV' || keyword === 'LABEL') && !first.includes('=') && second !== undefined) {
    const detail = `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`;
    warn('LegacyKeyValueFormat', detail, instruction);
  }
  if (keyword === 'ARG' || keyword === 'ENV') {
    for (const name of namesSetBy(instruction, file)) {
      if (!SECRET.test(name) || PUBLIC.test(name)) continue;
      const detail = `Do not use ARG or ENV instructions for sensitive data (${keyword} "${name}")`;
      warn('SecretsUsedInArgOrEnv', detail, instruction);
    }
  }
  if (keyword === 'EXPOSE') {
    for (const word of splitWords(args, file.escape)) {
      const protocol = word.split('/')[1] ?? '';
      if (!protocol.includes('$') && protocol !== protocol.toLowerCase()) {
        const detail = `Defined protocol '${word}' in EXPOSE instruction should be lowercase`;
        warn('ExposeProtoCasing', detail, instruction);
      }
      if (/^[^${}]*:/.test(word)) {
        const detail = `EXPOSE instruction should not define an IP address or host-port mapping, found '${word}'`;
        warn('ExposeInvalidFormat', detail, instruction);
      }
    }
  }
  if ((keyword === 'COPY' || keyword === 'ADD') && ignores && !flags.some(({ name }) => name === 'from')) {
    for (const path of (instruction.json ?? splitWords(args, file.escape)).slice(0, -1)) {
      const name = path.replace(/^(?:\.?\/)+/, '').replace(/\/$/, '');
      if (name === '' || /^<<|\$|:\/\//.test(path) || !ignores(name)) continue;
      const detail = `Attempting to Copy file "${path}" that is excluded by .dockerignore`;
      warn('CopyIgnoredFile', detail, instruction);
    }
  }
}
