/** What is probably not meant in the order of a stage: variables that nobody set, instructions that do not count. Pure. */
import { hint, namesSetBy, unsetIn, type LintInput, type Warn } from './lint-words.ts';
import type { Instruction } from './parser.ts';
import type { Stage } from './stages.ts';
import { splitWords, type Lookup } from './words.ts';

/** What is known at the end of a stage. */
export interface Known {
  /** Undefined when its base image is not here. */
  variables: ReadonlySet<string> | undefined;
  hasWorkdir: boolean;
}

/** The instructions whose words are expanded. */
const EXPANDED = new Set([
  'ADD',
  'COPY',
  'ENV',
  'EXPOSE',
  'LABEL',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
]);
/** The instructions of which only the last counts. */
const ONCE = new Set(['CMD', 'ENTRYPOINT', 'HEALTHCHECK']);

/** One stage, its instructions in their order. @param earlier - stages, by their number */
export function lintStage(
  stage: Stage,
  { file, baseVariables, platformArgs }: LintInput,
  earlier: ReadonlyMap<number, Known>,
  warn: Warn,
): Known {
  const { base, instructions } = stage;
  const from = base.kind === 'stage' ? earlier.get(base.index) : undefined;
  const inherited =
    base.kind === 'image' ? baseVariables(base.reference) : base.kind === 'scratch' ? [] : from?.variables;
  const variables = new Set([...(inherited ?? []), 'PATH']);
  let hasWorkdir = from?.hasWorkdir ?? false;
  let hasShell = false;
  const last = new Map<string, Instruction>();
  for (const instruction of instructions) {
    const { keyword, args, json } = instruction;
    if (inherited !== undefined && (EXPANDED.has(keyword) || keyword === 'ARG')) {
      const own = new Set<string>();
      const isSet: Lookup = (name) => (variables.has(name) || own.has(name) ? 'x' : undefined);
      const known = new Set([...variables, ...Object.keys(platformArgs)]);
      // an ARG knows those before it in its own line, an ENV does not
      const words = keyword === 'ARG' ? splitWords(args, file.escape) : [args];
      const unset = words.flatMap((word) => {
        const names = unsetIn(instruction, word, isSet, file);
        if (keyword === 'ARG') own.add(word.split('=', 1)[0]!);
        return names;
      });
      for (const name of new Set(unset)) {
        warn('UndefinedVar', `Usage of undefined variable '$${name}'${hint(name, known, '$')}`, instruction);
      }
    }
    for (const name of namesSetBy(instruction, file)) variables.add(name);
    if (keyword === 'SHELL') hasShell = true;
    if ((keyword === 'CMD' || keyword === 'ENTRYPOINT') && json === undefined && !hasShell && args !== '') {
      const detail = `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`;
      warn('JSONArgsRecommended', detail, instruction);
    }
    if (keyword === 'WORKDIR') {
      if (/^[^/$]/.test(args) && !hasWorkdir) {
        const detail = `Relative workdir "${args}" can have unexpected results if the base image changes`;
        warn('WorkdirRelativePath', detail, instruction);
      }
      hasWorkdir ||= !/^[^/$]/.test(args);
    }
    const before = ONCE.has(keyword) ? last.get(keyword) : undefined;
    if (before) {
      const detail = `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`;
      warn('MultipleInstructionsDisallowed', detail, before);
    }
    last.set(keyword, instruction);
  }
  return { variables: inherited === undefined ? undefined : variables, hasWorkdir };
}
