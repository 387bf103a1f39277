/** One stage while its instructions are applied: its variables, arguments and history. Pure. */
import { formatPlatform, type ContainerConfig, type Platform } from '@tare/image-spec';

import { expandTextIn, type StageMarks, type WordContext } from './dockerfile/config-instructions.ts';
import { parseDockerfile, type Instruction } from './dockerfile/parser.ts';
import { declaredArgs, findStage, sourcesOf, type BuildPlan, type Stage } from './dockerfile/stages.ts';
import type { PlannedBuild } from './checks.ts';
import type { BuildStep } from './output.ts';
import type { StageState } from './state.ts';

/** Arguments that need no declaration, stay out of the history and of cache keys. */
export const PROXY_ARGS = new Set(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
    name,
    name.toLowerCase(),
  ]),
);

/** Arguments that the builder itself takes. @returns whether nobody need declare it */
export function isUnneededArg(name: string): boolean {
  return PROXY_ARGS.has(name) || /^(?:BUILDKIT_|SOURCE_DATE_EPOCH$)/.test(name);
}

/** What changes in one stage besides its state: which arguments it has declared. */
export class StageRun {
  readonly marks: StageMarks = { cmdSet: false };
  /** Names of arguments that were declared. */
  readonly used = new Set<string>();
  readonly #planned: Pick<PlannedBuild, 'file' | 'plan' | 'platformArgs'>;
  readonly #given: Readonly<Record<string, string | null>>;
  readonly #stageName: string;

  constructor(
    planned: Pick<PlannedBuild, 'file' | 'plan' | 'platformArgs'>,
    given: Readonly<Record<string, string | null>>,
    stageName: string,
  ) {
    this.#planned = planned;
    this.#given = given;
    this.#stageName = stageName;
  }

  /** Variables as instructions see them: ENV beats ARG. */
  words({ config, args }: StageState): WordContext {
    const env = new Map((config.Env ?? []).map((entry) => splitOnce(entry)));
    return { escape: this.#planned.file.escape, lookup: (name) => env.get(name) ?? args.get(name) };
  }

  /** The state after an ARG. */
  declare(instruction: Instruction, state: StageState): StageState {
    const args = new Map(state.args);
    const words = {
      ...this.words(state),
      lookup: (name: string) => this.words({ ...state, args }).lookup(name),
    };
    for (const { name, value } of declaredArgs(instruction, words)) {
      this.used.add(name);
      const { plan, platformArgs } = this.#planned;
      const global = plan.globalArgs.get(name) ?? platformArgs[name];
      const given = this.#given[name] ?? value ?? (name === 'TARGETSTAGE' ? this.#stageName : global);
      if (given !== undefined) args.set(name, given);
    }
    return { ...state, args };
  }

  /** Variables of a RUN besides those of the image. */
  env({ config, args }: StageState): string[] {
    const own = new Set((config.Env ?? []).map((entry) => splitOnce(entry)[0]));
    return [...args].filter(([name]) => !own.has(name)).map(([name, value]) => `${name}=${value}`);
  }

  /** Proxies of a RUN that nobody declared: its result is held not to depend on them. */
  proxies({ config, args }: StageState): string[] {
    const own = new Set((config.Env ?? []).map((entry) => splitOnce(entry)[0]));
    return Object.entries(this.#given).flatMap(([name, value]) =>
      PROXY_ARGS.has(name) && value !== null && !own.has(name) && !args.has(name) ? [`${name}=${value}`] : [],
    );
  }

  /** What the client gave for an argument, declared or not. */
  given(name: string): string | undefined {
    return this.#given[name] ?? undefined;
  }
}

/** The state after a step that is in the history alone, or made a layer. */
export function withHistory(
  state: StageState,
  instruction: Instruction,
  created: string,
  empty = true,
): StageState {
  const step = { created, created_by: describe(instruction), ...(empty ? { empty_layer: true } : {}) };
  return { ...state, history: [...state.history, step] };
}

/** Instructions that change files; the others change what is known of the image. */
const FILE_KEYWORDS = new Set(['RUN', 'COPY', 'ADD', 'WORKDIR']);

/** What clients are told of an instruction. @param index - in its stage; -1 for the FROM */
export function stepOf({ stages, needed }: BuildPlan, stage: Stage, index: number): BuildStep {
  const { instructions, from, base } = stage;
  const isFile = (instruction: Instruction): boolean => FILE_KEYWORDS.has(instruction.keyword);
  const instruction = instructions[index] ?? from;
  const number = 1 + instructions.slice(0, index + 1).filter(isFile).length;
  const total = 1 + instructions.filter(isFile).length;
  const title = stage.name ?? (needed.length > 1 ? `stage-${stage.index}` : '');
  const before = instructions.slice(0, Math.max(index, 0)).findLastIndex(isFile);
  const inputs = index >= 0 ? [`${stage.index}:${before}`] : [];
  if (index < 0 && base.kind === 'stage') {
    const last = stages[base.index]!.instructions.findLastIndex(isFile);
    inputs.push(`${base.index}:${last}`);
  }
  for (const text of sourcesOf(instruction)) {
    const source = findStage(stages, text, stage.index);
    if (source) inputs.push(`${source.index}:${source.instructions.findLastIndex(isFile)}`);
  }
  return {
    id: `${stage.index}:${index}`,
    name: `[${title === '' ? '' : `${title} `}${number}/${total}] ${describe(instruction)}`,
    text: describe(instruction),
    kind: index < 0 || isFile(instruction) ? 'file' : 'config',
    inputs,
  };
}

/** An instruction in one line. */
export function describe({ keyword, flags, args }: Instruction): string {
  const shown = flags.map(({ name, value }) => `--${name}${value === undefined ? '' : `=${value}`}`);
  return [keyword, ...shown, args].join(' ').trim();
}

/** The instructions that a base image has for those built on it. */
export function triggersOf({ config }: StageState): readonly Instruction[] {
  return parseDockerfile((config.OnBuild ?? []).join('\n')).instructions;
}

/** The config of an image whose triggers have fired. */
export function withoutTriggers({ OnBuild: _triggers, ...config }: ContainerConfig): ContainerConfig {
  return config;
}

/** An instruction with the variables in its here-documents expanded. */
export function expandHeredocs(instruction: Instruction, words: WordContext): Instruction {
  if (instruction.heredocs.length === 0) return instruction;
  return {
    ...instruction,
    heredocs: instruction.heredocs.map((heredoc) =>
      heredoc.expand ? { ...heredoc, content: expandTextIn(instruction, heredoc.content, words) } : heredoc,
    ),
  };
}

/** The arguments that every build has. */
export function platformArgs(target: Platform, build: Platform): Record<string, string> {
  return {
    TARGETPLATFORM: formatPlatform(target),
    TARGETOS: target.os,
    TARGETARCH: target.architecture,
    TARGETVARIANT: target.variant ?? '',
    TARGETOSVERSION: target['os.version'] ?? '',
    BUILDPLATFORM: formatPlatform(build),
    BUILDOS: build.os,
    BUILDARCH: build.architecture,
    BUILDVARIANT: build.variant ?? '',
    BUILDOSVERSION: build['os.version'] ?? '',
  };
}

function splitOnce(entry: string): [string, string] {
  const at = entry.indexOf('=');
  return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
}
