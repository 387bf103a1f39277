/**
 * JSON as Go's encoding/json reads and writes it, because that is what Docker's clients are written against: keys
 * match case-insensitively, null means "not given", 64-bit integers are exact.
 */
import { z } from 'zod';
import { invalid } from '../errors.ts';

/** `JSON.rawJSON` is in V8 since 11.4, not yet in TypeScript's library. */
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** An integer that may exceed 2^53: a number when exact, a bigint otherwise. */
export const int64 = z.union([z.int(), z.bigint()]);

/** Encodes a reply: bigints as plain integers, and the newline that Go's encoder ends with. */
export function encodeJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    // only a bigint makes plain data throw; the replacer is slow, so it is kept for then
    if (!(error instanceof TypeError)) throw error;
    text = JSON.stringify(value, (_key, item: unknown) =>
      typeof item === 'bigint' ? rawJson(item.toString()) : item,
    );
  }
  return `${text ?? 'null'}\n`;
}

/**
 * Decodes `text` and validates it against `schema`; an empty text is the empty object.
 *
 * Before validation keys are renamed to the schema's spelling when they differ in case only, and members that are
 * null are dropped, as Go leaves their fields at zero; values of records keep their nulls.
 *
 * @throws {EngineError} `INVALID` naming the path of the field
 */
export function decodeJson<T>(text: string, schema: z.ZodType<T>): T {
  let raw: unknown = {};
  if (text.trim() !== '') {
    try {
      raw = parseJson(text);
    } catch (error) {
      throw invalid(`invalid JSON: ${(error as Error).message}`, { cause: error });
    }
    // the body `null` is Go's zero value
    raw ??= {};
  }
  const result = schema.safeParse(goShape(raw, schema));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.map(String).join('.') ?? '';
  throw invalid(`invalid JSON: ${path === '' ? '' : `${path}: `}${issue?.message ?? 'unexpected value'}`, {
    cause: result.error,
  });
}

/** JSON whose integers are exact: above 2^53 they are bigints. @throws {SyntaxError} */
export function parseJson(text: string): unknown {
  return JSON.parse(text, exactIntegers as (key: string, value: unknown) => unknown);
}

function exactIntegers(_key: string, value: unknown, context: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context.source ?? '';
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** Renames keys and drops nulls along the structure of `schema`; what the schema does not describe stays. */
function goShape(value: unknown, schema: z.core.$ZodType): unknown {
  if (value === null || typeof value !== 'object') return value;
  const definition = (schema as unknown as z.core.$ZodTypes)._zod.def;
  switch (definition.type) {
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
    case 'readonly':
    case 'catch':
    case 'nonoptional':
      return goShape(value, definition.innerType);
    case 'pipe':
      // z.preprocess is a pipe whose input is the transform
      return goShape(value, definition.in._zod.def.type === 'transform' ? definition.out : definition.in);
    case 'lazy':
      return goShape(value, definition.getter());
    case 'union': {
      const wanted = Array.isArray(value) ? ['array'] : ['object', 'record'];
      const option = definition.options.find((item) => wanted.includes(item._zod.def.type));
      return option ? goShape(value, option) : value;
    }
    case 'array':
      return Array.isArray(value) ? value.map((item) => goShape(item, definition.element)) : value;
    case 'record':
      if (Array.isArray(value)) return value;
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, goShape(item, definition.valueType)]),
      );
    case 'object':
      return Array.isArray(value) ? value : goObject(value, definition.shape);
    default:
      return value;
  }
}

const spellings = new WeakMap<object, Map<string, string>>();

function goObject(value: object, shape: Readonly<Record<string, z.core.$ZodType>>): unknown {
  let spelling = spellings.get(shape);
  if (!spelling) {
    spelling = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
    spellings.set(shape, spelling);
  }
  const entries: [string, unknown][] = [];
  for (const [key, item] of Object.entries(value)) {
    if (item === null) continue;
    const name = Object.hasOwn(shape, key) ? key : (spelling.get(key.toLowerCase()) ?? key);
    const inner = Object.hasOwn(shape, name) ? shape[name] : undefined;
    entries.push([name, inner ? goShape(item, inner) : item]);
  }
  // fromEntries defines, it does not assign: a `__proto__` key stays data
  return Object.fromEntries(entries);
}
