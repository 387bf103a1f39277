/** JSON without loss: integers beyond 2^53 survive, and documents are re-indented as text. */

/** What {@link parseJson} yields: as `JSON.parse`, with a bigint where a number would lose digits. */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | JsonValue[]
  | { [key: string]: JsonValue };

type Reviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown;

const keepDigits: Reviver = (_key, value, context) =>
  typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source ?? '')
    ? BigInt(context.source!)
    : value;

/**
 * Parses JSON. Integers that a double cannot hold (nanoseconds, memory limits near 2^63) come back as bigint.
 *
 * @throws {SyntaxError} when the text is no JSON.
 */
export function parseJson(text: string): JsonValue {
  // The reviver costs ten times the parse, so it only runs when a number is long enough to need it.
  if (!/\d{16}/.test(text)) return JSON.parse(text) as JsonValue;
  return JSON.parse(text, keepDigits as (this: unknown, key: string, value: unknown) => unknown) as JsonValue;
}

const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** A method under which an object keeps a JSON text of its own, for {@link stringifyJson}. */
export const jsonText = Symbol('jsonText');

/** Writes a value as compact JSON, bigints as plain numbers. */
export function stringifyJson(value: unknown): string {
  if (typeof value === 'object' && value !== null && jsonText in value)
    return (value[jsonText] as () => string)();
  return (
    JSON.stringify(value, (_key, item: unknown) =>
      typeof item === 'bigint' ? rawJson(item.toString()) : item,
    ) ?? 'null'
  );
}

/** Escapes `<`, `>` and `&` in JSON text as Go's encoding/json does by default. */
export function escapeHtml(json: string): string {
  return json.replace(/[<>&]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`);
}

/**
 * Re-indents JSON text as Go's json.Indent does. Only white space changes: numbers and escapes keep their spelling,
 * empty objects and arrays stay on one line.
 */
export function indentJson(text: string, indent = '    '): string {
  let out = '';
  let depth = 0;
  let atOpening = false;
  const newline = (): string => `\n${indent.repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs)) {
    if (token === '}' || token === ']') {
      depth--;
      out += atOpening ? token : newline() + token;
      atOpening = false;
      continue;
    }
    if (atOpening) {
      out += newline();
      atOpening = false;
    }
    if (token === '{' || token === '[') {
      out += token;
      depth++;
      atOpening = true;
    } else if (token === ',') out += token + newline();
    else out += token === ':' ? ': ' : token;
  }
  return out;
}
