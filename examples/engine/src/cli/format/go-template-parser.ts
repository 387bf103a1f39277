/** Parses the part of Go's text/template language that `--format` needs into a tree. */

/** One step of a pipeline: an operand, a field of one, or a function called with arguments. */
export type Expression =
  | { kind: 'literal'; value: unknown }
  | { kind: 'dot' }
  | { kind: 'variable'; name: string }
  /** `.A.B x` after `base`: fields looked up one after the other, the last with arguments when it is a method. */
  | { kind: 'field'; base: Expression; path: string[]; args: Expression[]; offset: number }
  | { kind: 'call'; name: string; args: Expression[]; offset: number }
  | { kind: 'pipeline'; pipeline: Pipeline };

/** Commands joined by `|`; each receives the value of the one before as its last argument. */
export interface Pipeline {
  /** Variables set by `$x := …` or `$i, $x := …`. */
  declares: string[];
  /** Whether the variables exist already (`=` rather than `:=`). */
  assigns: boolean;
  commands: Expression[];
}

export type Node =
  | { kind: 'text'; text: string }
  | { kind: 'action'; pipeline: Pipeline }
  | { kind: 'if' | 'with' | 'range'; pipeline: Pipeline; body: Node[]; otherwise: Node[] };

/** A template that cannot be parsed; the message is worded as Go's. */
export class TemplateSyntaxError extends Error {
  override name = 'TemplateSyntaxError';
}

interface Token {
  type: 'word' | 'field' | 'variable' | 'string' | 'number' | 'char' | 'punct' | 'end';
  text: string;
  offset: number;
  /** White space came before, which decides whether `.x` starts a new operand or continues the last. */
  spaced: boolean;
}

type Chunk = { text: string } | { action: string; offset: number };

/** Splits a template into literal text and `{{…}}` actions, applying the trim markers `{{- ` and ` -}}`. */
function split(source: string): Chunk[] {
  const chunks: Chunk[] = [];
  let position = 0;
  let trimNext = false;
  while (position < source.length) {
    const open = source.indexOf('{{', position);
    let text = source.slice(position, open === -1 ? source.length : open);
    if (trimNext) text = text.trimStart();
    if (open === -1) {
      chunks.push({ text });
      break;
    }
    let start = open + 2;
    if (/^-\s/.test(source.slice(start, start + 2))) {
      text = text.trimEnd();
      start += 2;
    }
    if (text !== '') chunks.push({ text });
    const end = findEnd(source, start);
    let action = source.slice(start, end);
    trimNext = /\s-$/.test(action);
    if (trimNext) action = action.slice(0, -2);
    if (!/^\/\*[^]*\*\/$/.test(action)) chunks.push({ action, offset: start });
    position = end + 2;
  }
  return chunks;
}

/** Where the `}}` that closes an action is, past any quoted one. */
function findEnd(source: string, start: number): number {
  const pattern = /"(?:[^"\\]|\\.)*"|`[^`]*`|\/\*[^]*?\*\/|}}/g;
  pattern.lastIndex = start;
  for (let match = pattern.exec(source); match; match = pattern.exec(source)) {
    if (match[0] === '}}') return match.index;
  }
  throw new TemplateSyntaxError('template: :1: unclosed action');
}

const tokenPattern =
  /(?<space>\s+)|(?<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?<char>'(?:[^'\\]|\\.)')|(?<number>[+-]?\d+(?:\.\d+)?(?![\w.]))|(?<field>\.[A-Za-z_]\w*)|(?<variable>\$\w*)|(?<word>[A-Za-z_]\w*)|(?<punct>:=|[.=|(),])/y;

function tokenize(action: string, offset: number): Token[] {
  const tokens: Token[] = [];
  let spaced = false;
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < action.length) {
    const at = tokenPattern.lastIndex;
    const groups = tokenPattern.exec(action)?.groups;
    if (!groups) {
      const char = action[at]!;
      throw new TemplateSyntaxError(
        char === '"'
          ? 'template: :1: unterminated quoted string'
          : `template: :1: unexpected ${quote(char)} in command`,
      );
    }
    if (groups['space'] !== undefined) {
      spaced = true;
      continue;
    }
    const [type, text] = Object.entries(groups).find(([, value]) => value !== undefined)! as [
      Token['type'],
      string,
    ];
    tokens.push({ type, text, offset: offset + at, spaced });
    spaced = false;
  }
  tokens.push({ type: 'end', text: '', offset: offset + action.length, spaced });
  return tokens;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

/** A cursor over the tokens of one action. */
class ActionParser {
  readonly #tokens: Token[];
  readonly #functions: ReadonlySet<string>;
  #at = 0;

  constructor(tokens: Token[], functions: ReadonlySet<string>) {
    this.#tokens = tokens;
    this.#functions = functions;
  }

  get next(): Token {
    return this.#tokens[this.#at]!;
  }

  /** Takes the next token when it is that keyword. */
  keyword(word: string): boolean {
    if (this.next.type !== 'word' || this.next.text !== word) return false;
    this.#at++;
    return true;
  }

  #punct(text: string): boolean {
    if (this.next.type !== 'punct' || this.next.text !== text) return false;
    this.#at++;
    return true;
  }

  pipeline(context: string): Pipeline {
    const declares: string[] = [];
    let assigns = false;
    const start = this.#at;
    while (this.next.type === 'variable') {
      declares.push(this.#tokens[this.#at++]!.text);
      if (!this.#punct(',')) break;
    }
    if (declares.length > 0 && this.#punct(':=')) assigns = false;
    else if (declares.length > 0 && this.#punct('=')) assigns = true;
    else {
      declares.length = 0;
      this.#at = start;
    }
    const commands: Expression[] = [];
    do {
      if (this.next.type === 'end')
        throw new TemplateSyntaxError(`template: :1: missing value for ${context}`);
      commands.push(this.#command(commands.length > 0));
    } while (this.#punct('|'));
    return { declares, assigns, commands };
  }

  end(context: string): void {
    if (this.next.type === 'end') return;
    throw new TemplateSyntaxError(`template: :1: unexpected ${quote(this.next.text)} in ${context}`);
  }

  /** A function with its arguments, or one operand. */
  #command(piped: boolean): Expression {
    const { type, text, offset } = this.next;
    if (type === 'word' && !literals.has(text)) {
      this.#at++;
      if (!this.#functions.has(text))
        throw new TemplateSyntaxError(`template: :1: function ${quote(text)} not defined`);
      const args: Expression[] = [];
      while (!this.#commandEnds()) args.push(this.#operand());
      return { kind: 'call', name: text, args, offset };
    }
    const operand = this.#operand();
    if (operand.kind === 'field') while (!this.#commandEnds()) operand.args.push(this.#operand());
    if (piped && operand.kind === 'literal') {
      throw new TemplateSyntaxError('template: :1: non executable command in pipeline stage 2');
    }
    return operand;
  }

  #commandEnds(): boolean {
    const { type, text } = this.next;
    return type === 'end' || (type === 'punct' && (text === '|' || text === ')'));
  }

  #operand(): Expression {
    const token = this.next;
    this.#at++;
    let base: Expression;
    switch (token.type) {
      case 'string':
        base = { kind: 'literal', value: unquote(token.text) };
        break;
      case 'char':
        base = { kind: 'literal', value: unquote(`"${token.text.slice(1, -1)}"`).codePointAt(0) };
        break;
      case 'number':
        base = { kind: 'literal', value: Number(token.text) };
        break;
      case 'variable':
        base = { kind: 'variable', name: token.text };
        break;
      case 'word':
        if (literals.has(token.text)) base = { kind: 'literal', value: literals.get(token.text) };
        else if (this.#functions.has(token.text))
          base = { kind: 'call', name: token.text, args: [], offset: token.offset };
        else throw new TemplateSyntaxError(`template: :1: function ${quote(token.text)} not defined`);
        break;
      case 'field':
        this.#at--;
        base = { kind: 'dot' };
        break;
      default:
        if (token.text === '.') base = { kind: 'dot' };
        else if (token.text === '(') {
          base = { kind: 'pipeline', pipeline: this.pipeline('parenthesized pipeline') };
          if (!this.#punct(')')) throw new TemplateSyntaxError('template: :1: unclosed left paren');
        } else {
          throw new TemplateSyntaxError(`template: :1: unexpected ${quote(token.text)} in operand`);
        }
    }
    const path: string[] = [];
    const offset = this.next.offset;
    while (this.next.type === 'field' && (this.next === token || !this.next.spaced)) {
      path.push(this.next.text.slice(1));
      this.#at++;
    }
    return path.length === 0 ? base : { kind: 'field', base, path, args: [], offset };
  }
}

const literals = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['nil', null],
]);

function unquote(literal: string): string {
  if (literal.startsWith('`')) return literal.slice(1, -1);
  try {
    return JSON.parse(
      literal.replace(/\\x([0-9a-fA-F]{2})/g, '\\u00$1').replace(/\\a/g, '\\u0007'),
    ) as string;
  } catch (cause) {
    throw new TemplateSyntaxError('template: :1: invalid syntax', { cause });
  }
}

/**
 * Parses a template.
 *
 * @param functions the names a template may call
 * @throws {TemplateSyntaxError} worded as Go's error, since scripts show it to people who know that wording
 */
export function parseTemplate(source: string, functions: ReadonlySet<string>): Node[] {
  const chunks = split(source);
  let at = 0;

  /** Nodes up to the `else` or `end` that closes the block, which is left in `closing`. */
  const block = (inside: boolean): { nodes: Node[]; closing: ActionParser | undefined } => {
    const nodes: Node[] = [];
    while (at < chunks.length) {
      const chunk = chunks[at++]!;
      if ('text' in chunk) {
        nodes.push({ kind: 'text', text: chunk.text });
        continue;
      }
      const action = new ActionParser(tokenize(chunk.action, chunk.offset), functions);
      if (action.keyword('end') || action.next.text === 'else') {
        if (!inside)
          throw new TemplateSyntaxError(`template: :1: unexpected {{${action.next.text || 'end'}}}`);
        return { nodes, closing: action };
      }
      const kind = (['if', 'with', 'range'] as const).find((word) => action.keyword(word));
      nodes.push(kind ? control(kind, action) : statement(action));
    }
    if (inside) throw new TemplateSyntaxError('template: :1: unexpected EOF');
    return { nodes, closing: undefined };
  };

  const statement = (action: ActionParser): Node => {
    const pipeline = action.pipeline('command');
    action.end('command');
    return { kind: 'action', pipeline };
  };

  const control = (kind: 'if' | 'with' | 'range', action: ActionParser): Node => {
    const pipeline = action.pipeline(kind);
    action.end(kind);
    const { nodes: body, closing } = block(true);
    let otherwise: Node[] = [];
    if (closing?.keyword('else')) {
      // `{{else if x}}` is an `if` inside the `else`, sharing its `end`.
      const chained = (['if', 'with'] as const).find((word) => closing.keyword(word));
      otherwise = chained ? [control(chained, closing)] : block(true).nodes;
    }
    return { kind, pipeline, body, otherwise };
  };

  return block(false).nodes;
}
