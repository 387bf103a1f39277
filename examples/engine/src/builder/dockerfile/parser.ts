/** The text of a Dockerfile → its instructions. A tokeniser finds where they begin and end; what they mean is not decided here. */
import { DockerfileParser, type Instruction as InstructionNode } from 'dockerfile-ast';

import { closest } from './closest.ts';
import { DockerfileError, type Place } from './errors.ts';
import { splitWords } from './words.ts';

/** `--name=value` between a keyword and its arguments. */
export interface Flag {
  name: string;
  /** Undefined for a flag without `=`. */
  value: string | undefined;
}

/** A here-document. */
export interface Heredoc {
  /** Its delimiter, and the name of the file it becomes in COPY and ADD. */
  name: string;
  content: string;
  /** Variables in it are expanded: the delimiter was not quoted. */
  expand: boolean;
}

/** One instruction. */
export interface Instruction extends Place {
  /** In capitals. */
  keyword: string;
  flags: readonly Flag[];
  /** What follows, in one line: continuations joined, comments between them left out. */
  args: string;
  /** The arguments, when they are a JSON array of strings: the exec form. */
  json: readonly string[] | undefined;
  heredocs: readonly Heredoc[];
}

/** A Dockerfile. */
export interface DockerfileText {
  /** A backslash or a backtick. */
  escape: string;
  /** Value of `# syntax=`. */
  syntax: string | undefined;
  /** Value of `# check=`. */
  check: string | undefined;
  instructions: readonly Instruction[];
}

const KEYWORDS: ReadonlySet<string> = new Set(
  'ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR'.split(
    ' ',
  ),
);

/** The instructions that have flags. */
const WITH_FLAGS = new Set(['ADD', 'COPY', 'FROM', 'HEALTHCHECK', 'RUN']);

/** The instructions that have an exec form. */
const WITH_JSON = new Set(['ADD', 'CMD', 'COPY', 'ENTRYPOINT', 'RUN', 'SHELL', 'VOLUME']);

/** @throws {DockerfileError} for an unknown instruction, a doubled directive, or an escape character that is none */
export function parseDockerfile(text: string): DockerfileText {
  const clean = text.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n');
  const lines = clean.split('\n');
  const file = DockerfileParser.parse(clean);
  const directives = new Map<string, string>();
  for (const directive of file.getDirectives()) {
    const name = directive.getName().toLowerCase();
    const line = directive.getRange().start.line + 1;
    if (directives.has(name)) {
      throw new DockerfileError(`only one ${name} parser directive can be used`, { line, source: '' });
    }
    // the tokeniser ends values at blanks
    directives.set(name, lines[line - 1]!.replace(/^[^=]*=/, '').trim());
  }
  const escape = directives.get('escape') ?? '\\';
  if (escape !== '\\' && escape !== '`') {
    throw new DockerfileError(`invalid ESCAPE ${JSON.stringify(escape)}: must be \\ or \``, {
      line: 1,
      source: '',
    });
  }
  return {
    escape,
    syntax: directives.get('syntax'),
    check: directives.get('check'),
    instructions: file.getInstructions().map((node) => {
      const { start, end } = node.getRange();
      return toInstruction(node, lines.slice(start.line, end.line + 1), escape);
    }),
  };
}

function toInstruction(node: InstructionNode, lines: string[], escape: string): Instruction {
  const place: Place = { line: node.getRange().start.line + 1, source: lines.join('\n') };
  const text = takeLogicalLine(lines, escape);
  const [, word = '', rest = ''] = /^\s*(\S+)\s*(.*)$/s.exec(text) ?? [];
  const keyword = word.toUpperCase();
  if (!KEYWORDS.has(keyword)) {
    const meant = closest(keyword, KEYWORDS);
    const hint = meant === undefined ? '' : ` (did you mean ${meant}?)`;
    throw new DockerfileError(`unknown instruction: ${word}${hint}`, place);
  }
  const { flags, args } = WITH_FLAGS.has(keyword)
    ? takeFlags(rest, escape)
    : { flags: [], args: rest.trim() };
  const heredocs = lines.length > 0 ? takeHeredocs(args, lines) : [];
  return {
    ...place,
    keyword,
    flags,
    args,
    json: WITH_JSON.has(keyword) && heredocs.length === 0 ? jsonStrings(args) : undefined,
    heredocs,
  };
}

/** Takes the lines of one instruction, here-documents left out, and joins them: comments and empty lines between go. */
function takeLogicalLine(lines: string[], escape: string): string {
  let text = '';
  for (let first = true; lines.length > 0; first = false) {
    const line = lines.shift()!;
    if (!first && /^\s*(?:#.*)?$/.test(line)) continue;
    const trimmed = line.replace(/[ \t]+$/, '');
    if (!trimmed.endsWith(escape)) return text + line;
    text += trimmed.slice(0, -1);
  }
  return text;
}

function takeFlags(text: string, escape: string): { flags: Flag[]; args: string } {
  const flags: Flag[] = [];
  let args = text.trim();
  for (const word of splitWords(args, escape)) {
    const [, name, value] = /^--([A-Za-z][A-Za-z0-9-]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) break;
    flags.push({ name, value });
    args = args.slice(word.length).trimStart();
  }
  return { flags, args };
}

/** The here-documents that `args` begin, out of the lines that follow. */
function takeHeredocs(args: string, lines: string[]): Heredoc[] {
  const begins = args.matchAll(/(?<!<)\d*<<(-?)(?:"([^"\s]+)"|'([^'\s]+)'|([^\s"'<>|&;]+))/g);
  return Array.from(begins, ([, dash, double, single, bare]) => {
    const name = double ?? single ?? bare ?? '';
    let content = '';
    for (;;) {
      const line = lines.shift();
      if (line === undefined) break;
      const stripped = dash === '-' ? line.replace(/^\t+/, '') : line;
      if (stripped === name) break;
      content += `${stripped}\n`;
    }
    return { name, content, expand: bare !== undefined };
  });
}

/** The strings of a JSON array; undefined when `text` is not one. */
export function jsonStrings(text: string): string[] | undefined {
  const trimmed = text.trim();
  if (!trimmed.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(trimmed);
    return Array.isArray(value) && value.every((one) => typeof one === 'string') ? value : undefined;
  } catch {
    // what only looks like an array is a shell command
    return undefined;
  }
}
