/** Runs `--format` templates: the part of Go's text/template that Docker users write, with Docker's extra functions. */
import { stringifyJson } from './json-text.ts';
import { parseTemplate, type Expression, type Node, type Pipeline } from './go-template-parser.ts';

/** A template that failed while running; the message is worded as Go's. */
export class TemplateError extends Error {
  override name = 'TemplateError';
}

/** A parsed template, to be run on many values. */
export interface Template {
  /**
   * Renders one value. Plain objects are read by key, arrays by `index` and `range`.
   *
   * @throws {TemplateError} for a key that does not exist, or a function called wrongly
   */
  execute(value: unknown): string;
}

/** What a template's fields are looked up in, when it is not the value's own keys. */
export interface TemplateOptions {
  /** Whether a missing key is an error (default) or prints `<no value>`. */
  missingKey?: 'error' | 'zero';
  /** The Go type named in "can't evaluate field" errors; without it, a missing key is reported as one of a map. */
  typeName?: string;
  /** Functions that replace the usual ones: a table's header is rendered by its row's template. */
  overrides?: Readonly<Record<string, (...args: unknown[]) => unknown>>;
}

/** For {@link TemplateOptions.overrides}: functions that leave a column's heading as it is. */
export const headerFunctions = Object.fromEntries(
  ['json', 'title', 'lower', 'upper', 'truncate'].map((name) => [name, (value: unknown) => value]),
);

/**
 * Parses a template once.
 *
 * @throws {TemplateSyntaxError} when it is not well-formed or names an unknown function
 */
export function compileTemplate(source: string, options: TemplateOptions = {}): Template {
  const nodes = parseTemplate(source, new Set(Object.keys(functions)));
  return {
    execute(value) {
      const run = new Execution(value, options);
      run.nodes(nodes, value);
      return run.output;
    },
  };
}

/** One rendering: output so far and the variables in scope. */
class Execution {
  output = '';
  readonly #variables: { name: string; value: unknown }[];
  readonly #options: TemplateOptions;

  constructor(root: unknown, options: TemplateOptions) {
    this.#variables = [{ name: '$', value: root }];
    this.#options = options;
  }

  nodes(nodes: readonly Node[], dot: unknown): void {
    for (const node of nodes) {
      if (node.kind === 'text') this.output += node.text;
      else if (node.kind === 'action') {
        const value = this.#pipeline(node.pipeline, dot);
        if (node.pipeline.declares.length === 0) this.output += print(value);
      } else this.#control(node, dot);
    }
  }

  #control(node: Extract<Node, { body: Node[] }>, dot: unknown): void {
    const mark = this.#variables.length;
    if (node.kind === 'range') this.#range(node, dot);
    else {
      const value = this.#pipeline(node.pipeline, dot);
      if (isTrue(value)) this.nodes(node.body, node.kind === 'with' ? value : dot);
      else this.nodes(node.otherwise, dot);
    }
    this.#variables.length = mark;
  }

  #range(node: Extract<Node, { body: Node[] }>, dot: unknown): void {
    const { declares } = node.pipeline;
    const value = this.#pipeline({ ...node.pipeline, declares: [] }, dot);
    const entries = rangeEntries(value);
    if (entries.length === 0) return this.nodes(node.otherwise, dot);
    for (const [key, item] of entries) {
      const mark = this.#variables.length;
      if (declares.length === 1) this.#variables.push({ name: declares[0]!, value: item });
      if (declares.length === 2) {
        this.#variables.push({ name: declares[0]!, value: key }, { name: declares[1]!, value: item });
      }
      this.nodes(node.body, item);
      this.#variables.length = mark;
    }
  }

  #pipeline(pipeline: Pipeline, dot: unknown): unknown {
    let value: unknown = nothing;
    for (const command of pipeline.commands) value = this.#evaluate(command, dot, value);
    for (const name of pipeline.declares) {
      const known = pipeline.assigns
        ? this.#variables.findLast((variable) => variable.name === name)
        : undefined;
      if (known) known.value = value;
      else this.#variables.push({ name, value });
    }
    return value;
  }

  /** `piped` is the value of the pipeline so far: the last argument of a call. */
  #evaluate(expression: Expression, dot: unknown, piped: unknown = nothing): unknown {
    switch (expression.kind) {
      case 'literal':
        return expression.value;
      case 'dot':
        return dot;
      case 'variable': {
        const variable = this.#variables.findLast(({ name }) => name === expression.name);
        if (!variable) throw new TemplateError(`template: :1: undefined variable "${expression.name}"`);
        return variable.value;
      }
      case 'field':
        return this.#field(expression, dot, piped);
      case 'pipeline':
        return this.#pipeline(expression.pipeline, dot);
      case 'call': {
        const args = expression.args.map((arg) => this.#evaluate(arg, dot));
        if (piped !== nothing) args.push(piped);
        try {
          return (this.#options.overrides?.[expression.name] ?? functions[expression.name]!)(...args);
        } catch (cause) {
          const reason = cause instanceof Error ? cause.message : String(cause);
          throw new TemplateError(
            `template: :1:${expression.offset}: executing "" at <${expression.name}>: error calling ${expression.name}: ${reason}`,
            { cause },
          );
        }
      }
    }
  }

  #field(expression: Extract<Expression, { kind: 'field' }>, dot: unknown, piped: unknown): unknown {
    let value = this.#evaluate(expression.base, dot);
    for (const [position, name] of expression.path.entries()) {
      if (isRecord(value) && Object.hasOwn(value, name)) {
        const member = value[name];
        // A method of a listing's row, such as Docker's `{{.Label "key"}}`.
        if (typeof member === 'function') {
          const args = expression.args.map((arg) => this.#evaluate(arg, dot));
          value = (member as Method)(...args, ...given(piped));
        } else value = member;
        continue;
      }
      const isOwnField =
        this.#options.typeName !== undefined && position === 0 && value === this.#variables[0]!.value;
      if (this.#options.missingKey === 'zero' && !isOwnField) {
        if (value === undefined || value === null) return undefined;
        if (isRecord(value)) {
          value = entry(value, name);
          continue;
        }
      }
      throw new TemplateError(this.#missing(expression, position, value));
    }
    return value;
  }

  #missing(expression: Extract<Expression, { kind: 'field' }>, position: number, value: unknown): string {
    const path = `.${expression.path.slice(0, position + 1).join('.')}`;
    const name = expression.path[position]!;
    // Go points at the field that is missing and shows the path up to it.
    const offset =
      expression.offset + expression.path.slice(0, position).join('.').length + Number(position > 0);
    const where = `template: :1:${offset}: executing "" at <${path}>`;
    if (this.#options.typeName && position === 0) {
      return `${where}: can't evaluate field ${name} in type ${this.#options.typeName}`;
    }
    if (isRecord(value)) return `${where}: map has no entry for key "${name}"`;
    if (value === null || value === undefined) return `${where}: nil pointer evaluating interface {}.${name}`;
    return `${where}: can't evaluate field ${name} in type interface {}`;
  }
}

type Method = (...args: unknown[]) => unknown;

/** Marks the absence of a piped value, which may itself be undefined. */
const nothing = Symbol('nothing');

function given(piped: unknown): unknown[] {
  return piped === nothing ? [] : [piped];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Go's truth: not the zero value, not empty. */
function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isRecord(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

function rangeEntries(value: unknown): [unknown, unknown][] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value.map((item, index) => [index, item]);
  if (isRecord(value)) return sortedKeys(value).map((key) => [key, value[key]]);
  if (typeof value === 'number') return Array.from({ length: value }, (_, index) => [index, index]);
  throw new TemplateError(`template: :1: range can't iterate over ${print(value)}`);
}

function sortedKeys(record: Record<string, unknown>): string[] {
  return Object.keys(record).sort(compareText);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** A value as fmt.Print shows it: `map[a:1 b:2]`, `[x y]`, `<no value>`. */
export function print(value: unknown): string {
  if (value === undefined || value === nothing) return '<no value>';
  return printInner(value);
}

function printInner(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(printInner).join(' ')}]`;
  if (isRecord(value)) {
    return `map[${sortedKeys(value)
      .map((key) => `${key}:${printInner(value[key])}`)
      .join(' ')}]`;
  }
  return String(value);
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new TypeError(`wrong type for value; expected string; got ${goType(value)}`);
}

function goType(value: unknown): string {
  if (Array.isArray(value)) return '[]interface {}';
  if (isRecord(value)) return 'map[string]interface {}';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number' || typeof value === 'bigint') return 'int';
  return typeof value;
}

function length(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (isRecord(value)) return Object.keys(value).length;
  throw new TypeError(`len of type ${goType(value)}`);
}

function index(container: unknown, ...keys: unknown[]): unknown {
  let value = container;
  for (const key of keys) {
    if (Array.isArray(value)) {
      const position = Number(key);
      if (!Number.isInteger(position) || position < 0 || position >= value.length) {
        throw new RangeError(`error calling index: index out of range: ${print(key)}`);
      }
      value = value[position];
    } else if (isRecord(value)) value = entry(value, String(key));
    else if (value === null || value === undefined) throw new TypeError('index of untyped nil');
    else throw new TypeError(`can't index item of type ${goType(value)}`);
  }
  return value;
}

/** A map's entry. Docker's maps are of strings more often than not, and a missing string is the empty one. */
function entry(record: Record<string, unknown>, key: string): unknown {
  if (Object.hasOwn(record, key)) return record[key];
  return Object.values(record).every((value) => typeof value === 'string') ? '' : undefined;
}

function slice(value: unknown, from: unknown = 0, to?: unknown): unknown {
  if (typeof value !== 'string' && !Array.isArray(value))
    throw new TypeError(`can't slice item of type ${goType(value)}`);
  const end = to === undefined ? value.length : Number(to);
  if (Number(from) > value.length || end > value.length) throw new RangeError(`index out of range: ${end}`);
  return value.slice(Number(from), end);
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  if (isNumeric(a) && isNumeric(b)) return a < b ? -1 : Number(a > b);
  throw new TypeError('incompatible types for comparison');
}

function isNumeric(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

function equal(a: unknown, b: unknown): boolean {
  // Loose on purpose between number and bigint only: both are Go integers.
  return isNumeric(a) && isNumeric(b) ? compare(a, b) === 0 : a === b;
}

/** C-like verbs of Go's fmt that templates use. */
function printf(format: unknown, ...args: unknown[]): string {
  let next = 0;
  return text(format).replace(
    /%(-?)(0?)(\d*)(?:\.(\d+))?([vsdqxXtfg%])/g,
    (_all, left, zero, width, precision, verb) => {
      if (verb === '%') return '%';
      if (next >= args.length) return `%!${verb}(MISSING)`;
      const value = args[next++];
      let shown: string;
      if (verb === 'q') shown = JSON.stringify(print(value));
      else if (verb === 'x' || verb === 'X') {
        shown =
          typeof value === 'string'
            ? Buffer.from(value).toString('hex')
            : BigInt(value as number).toString(16);
        if (verb === 'X') shown = shown.toUpperCase();
      } else if (verb === 'f') shown = Number(value).toFixed(precision === undefined ? 6 : Number(precision));
      else if (verb === 's' && precision !== undefined) shown = print(value).slice(0, Number(precision));
      else shown = print(value);
      const columns = Number(width || 0);
      return left ? shown.padEnd(columns) : shown.padStart(columns, zero ? '0' : ' ');
    },
  );
}

/** fmt.Print puts a space between neighbours of which neither is a string. */
function printArgs(...args: unknown[]): string {
  return args
    .map((arg, at) => {
      const gap = at > 0 && typeof arg !== 'string' && typeof args[at - 1] !== 'string';
      return (gap ? ' ' : '') + print(arg);
    })
    .join('');
}

const functions: Record<string, Method> = {
  // Docker's own
  json: (value) => stringifyJson(value),
  split: (value, separator) => text(value).split(text(separator)),
  join: (items, separator) =>
    (items === null || items === undefined ? [] : (items as unknown[])).map(print).join(text(separator)),
  title: (value) =>
    text(value).replace(/(^|\s)(\S)/g, (_all, gap: string, char: string) => gap + char.toUpperCase()),
  lower: (value) => text(value).toLowerCase(),
  upper: (value) => text(value).toUpperCase(),
  pad: (value, before, after) => ' '.repeat(Number(before)) + text(value) + ' '.repeat(Number(after)),
  truncate: (value, columns) => text(value).slice(0, Number(columns)),
  // Go's built in
  and: (...args) => (args.every(isTrue) ? args.at(-1) : args.find((arg) => !isTrue(arg))),
  or: (...args) => (args.some(isTrue) ? args.find(isTrue) : args.at(-1)),
  not: (value) => !isTrue(value),
  eq: (first, ...others) => others.some((other) => equal(first, other)),
  ne: (a, b) => !equal(a, b),
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  len: length,
  index,
  slice,
  print: printArgs,
  println: (...args) => `${args.map(print).join(' ')}\n`,
  printf,
  html: (value) => print(value).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`),
  js: (value) => JSON.stringify(print(value)).slice(1, -1),
  urlquery: (value) => encodeURIComponent(print(value)),
};
