/** Instructions → stages and what they need of each other: the graph of a build. Pure. */
import { DockerfileError } from './errors.ts';
import { expandIn, type WordContext } from './config-instructions.ts';
import { closest } from './closest.ts';
import type { DockerfileText, Instruction } from './parser.ts';
import { splitWords } from './words.ts';

/** What a stage begins with. */
export type StageBase =
  | { kind: 'scratch' }
  | { kind: 'stage'; index: number }
  | { kind: 'image'; reference: string; platform: string | undefined };

/** One `FROM` and everything up to the next. */
export interface Stage {
  index: number;
  /** Lower case; undefined for a stage without one. */
  name: string | undefined;
  base: StageBase;
  from: Instruction;
  /** After `FROM`. */
  instructions: readonly Instruction[];
}

/** The graph. */
export interface BuildPlan {
  stages: readonly Stage[];
  /** The stage whose result is the build's. */
  target: number;
  /** Values of the arguments before the first `FROM`: defaults for stages that declare them. */
  globalArgs: ReadonlyMap<string, string>;
  /** Indexes of the stages that the target needs, itself included, ascending. */
  needed: readonly number[];
}

/** What a plan depends on besides the file. */
export interface PlanOptions {
  buildArgs: Readonly<Record<string, string | null>>;
  /** `TARGETPLATFORM` and its like. */
  platformArgs: Readonly<Record<string, string>>;
  /** Name or number of a stage; the last one when empty. */
  target: string;
}

/** @throws {DockerfileError} */
export function planStages(file: DockerfileText, options: PlanOptions): BuildPlan {
  const firstFrom = file.instructions.findIndex(({ keyword }) => keyword === 'FROM');
  const before = firstFrom < 0 ? file.instructions : file.instructions.slice(0, firstFrom);
  const misplaced = before.find(({ keyword }) => keyword !== 'ARG');
  if (misplaced) {
    throw new DockerfileError(
      `no build stage in current context: ${misplaced.keyword} before FROM`,
      misplaced,
    );
  }
  if (firstFrom < 0) throw new DockerfileError('no build stage: the Dockerfile has no FROM', undefined);

  const globalArgs = new Map<string, string>();
  const words: WordContext = {
    lookup: (name) => globalArgs.get(name) ?? options.platformArgs[name],
    escape: file.escape,
  };
  for (const instruction of before) {
    for (const { name, value } of declaredArgs(instruction, words)) {
      const given = options.buildArgs[name] ?? value;
      if (given !== undefined) globalArgs.set(name, given);
    }
  }
  const stages: Stage[] = [];
  for (const [i, instruction] of file.instructions.entries()) {
    if (i < firstFrom || instruction.keyword !== 'FROM') continue;
    const next = file.instructions.findIndex(({ keyword }, at) => at > i && keyword === 'FROM');
    const instructions = file.instructions.slice(i + 1, next < 0 ? undefined : next);
    stages.push(toStage(stages, instruction, instructions, words));
  }
  const target = findTarget(stages, options.target);
  return { stages, target, globalArgs, needed: neededStages(stages, target) };
}

/** `ARG a b=c`: names with their expanded defaults. */
export function declaredArgs(
  instruction: Instruction,
  words: WordContext,
): { name: string; value: string | undefined }[] {
  const parts = splitWords(instruction.args, words.escape);
  if (parts.length === 0) throw new DockerfileError('ARG requires at least one argument', instruction);
  return parts.map((part) => {
    const at = part.indexOf('=');
    const name = expandIn(instruction, at < 0 ? part : part.slice(0, at), words);
    if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name)) {
      throw new DockerfileError(`ARG name ${JSON.stringify(name)} is none`, instruction);
    }
    return { name, value: at < 0 ? undefined : expandIn(instruction, part.slice(at + 1), words) };
  });
}

/** The stage that `text` names, by name or number, among those before `end`; undefined for none. */
export function findStage(stages: readonly Stage[], text: string, end = stages.length): Stage | undefined {
  const name = text.toLowerCase();
  const named = stages.slice(0, end).findLast((stage) => stage.name === name);
  return named ?? (/^\d+$/.test(text) && Number(text) < end ? stages[Number(text)] : undefined);
}

function toStage(
  stages: readonly Stage[],
  from: Instruction,
  instructions: readonly Instruction[],
  words: WordContext,
): Stage {
  const [image, as, name, ...more] = splitWords(from.args, words.escape);
  if (
    image === undefined ||
    more.length > 0 ||
    (as !== undefined && as.toUpperCase() !== 'AS') ||
    (as && !name)
  ) {
    throw new DockerfileError('FROM requires either one or three arguments: FROM image [AS name]', from);
  }
  const stageName = name?.toLowerCase();
  if (stageName !== undefined && !/^[a-z][a-z0-9-_.]*$/.test(stageName)) {
    throw new DockerfileError(
      `invalid name for build stage: ${JSON.stringify(name)}, name can't start with a number or contain symbols`,
      from,
    );
  }
  const reference = expandIn(from, image, words);
  if (reference === '') {
    throw new DockerfileError(
      `base name (${image}) should not be blank: is an ARG before FROM missing?`,
      from,
    );
  }
  let platform: string | undefined;
  for (const flag of from.flags) {
    if (flag.name !== 'platform' || flag.value === undefined) {
      throw new DockerfileError(`unknown flag: --${flag.name}`, from);
    }
    platform = expandIn(from, flag.value, words);
  }
  const earlier = findStage(stages, reference);
  const index = stages.length;
  const base: StageBase =
    earlier && earlier.name === reference.toLowerCase()
      ? { kind: 'stage', index: earlier.index }
      : reference === 'scratch'
        ? { kind: 'scratch' }
        : { kind: 'image', reference, platform };
  return { index, name: stageName, base, from, instructions };
}

function findTarget(stages: readonly Stage[], text: string): number {
  if (text === '') return stages.length - 1;
  const found = findStage(stages, text);
  if (found) return found.index;
  const meant = closest(
    text,
    stages.flatMap(({ name }) => name ?? []),
  );
  const hint = meant === undefined ? '' : ` (did you mean ${meant}?)`;
  throw new DockerfileError(`failed to reach build target ${text} in Dockerfile${hint}`, undefined);
}

function neededStages(stages: readonly Stage[], target: number): number[] {
  const needed = new Set<number>();
  const queue = [target];
  for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
    if (needed.has(index)) continue;
    needed.add(index);
    const stage = stages[index]!;
    if (stage.base.kind === 'stage') queue.push(stage.base.index);
    for (const instruction of stage.instructions) {
      for (const text of sourcesOf(instruction)) {
        const from = findStage(stages, text, index);
        if (from) queue.push(from.index);
      }
    }
  }
  return [...needed].sort((a, b) => a - b);
}

/** What an instruction takes files from: stages or images. */
export function sourcesOf({ flags }: Instruction): string[] {
  return flags.flatMap(({ name, value = '' }) => {
    if (name === 'from') return [value];
    if (name !== 'mount') return [];
    const from = /(?:^|,)from=([^,]*)/.exec(value)?.[1];
    return from === undefined ? [] : [from];
  });
}
