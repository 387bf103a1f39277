/** The `filters` query parameter of lists, prunes and events. */
import { invalid } from './errors.ts';
import { parseTimestamp } from './time.ts';

/** Parsed filters: key → values. Several values of a key mean "any of", several keys "all of". */
export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]> = new Map()) {
    this.#values = values;
  }

  /** Whether the key was given at all. */
  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** These filters, with the values of one key replaced. */
  with(key: string, values: readonly string[]): Filters {
    return new Filters(new Map([...this.#values, [key, values]]));
  }

  /** The values of a key; empty when it was not given. */
  values(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  /** The keys given. */
  keys(): string[] {
    return [...this.#values.keys()];
  }

  /** Whether the key was not given, or one of its values passes `test`. */
  any(key: string, test: (value: string) => boolean): boolean {
    const values = this.#values.get(key);
    return values === undefined || values.length === 0 || values.some(test);
  }

  /**
   * A boolean filter such as `dangling`: undefined when not given.
   *
   * @throws {EngineError} `INVALID` for anything but `true`, `1`, `false` and `0`, or for both at once
   */
  bool(key: string): boolean | undefined {
    const values = this.values(key);
    if (values.length === 0) return undefined;
    const yes = values.some((value) => value === 'true' || value === '1');
    const no = values.some((value) => value === 'false' || value === '0');
    if (yes === no) throw invalid(`invalid filter '${key}=${values.join(',')}'`);
    return yes;
  }

  /** Whether `labels` has every `label` value (`key` or `key=value`) and none of the `label!` ones. */
  matchesLabels(labels: Readonly<Record<string, string>> | null | undefined): boolean {
    const has = (wanted: string): boolean => {
      const at = wanted.indexOf('=');
      const key = at < 0 ? wanted : wanted.slice(0, at);
      if (!labels || !Object.hasOwn(labels, key)) return false;
      return at < 0 || labels[key] === wanted.slice(at + 1);
    };
    return this.values('label').every(has) && !this.values('label!').some(has);
  }

  /**
   * The single timestamp of `until` or `since`, in nanoseconds since the epoch; undefined when not given.
   *
   * @throws {EngineError} `INVALID` for several values or an unreadable one
   */
  timestamp(key: string): bigint | undefined {
    const values = this.values(key);
    if (values.length === 0) return undefined;
    const time = values.length === 1 ? parseTimestamp(values[0]!) : undefined;
    if (time === undefined) throw invalid(`invalid filter '${key}=${values.join(',')}'`);
    return time;
  }
}

/**
 * Parses the parameter in its new form `{"label":{"a=b":true}}` or its old one `{"label":["a=b"]}`; missing or empty
 * means no filters.
 *
 * @param allowed - the keys this end-point knows
 * @throws {EngineError} `INVALID` for malformed JSON or an unknown key
 */
export function parseFilters(text: string | undefined, allowed: readonly string[]): Filters {
  if (text === undefined || text === '') return new Filters();
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw invalid(`invalid filter: ${(error as Error).message}`, { cause: error });
  }
  if (raw === null) return new Filters();
  if (typeof raw !== 'object' || Array.isArray(raw)) throw invalid('invalid filter: expected a JSON object');
  const values = new Map<string, string[]>();
  for (const [key, item] of Object.entries(raw)) {
    if (!allowed.includes(key)) throw invalid(`invalid filter '${key}'`);
    values.set(key, filterValues(key, item));
  }
  return new Filters(values);
}

function filterValues(key: string, item: unknown): string[] {
  if (item === null) return [];
  if (Array.isArray(item)) {
    if (item.every((value) => typeof value === 'string')) return item;
  } else if (typeof item === 'object') {
    const entries = Object.entries(item);
    if (entries.every(([, on]) => typeof on === 'boolean')) {
      return entries.filter(([, on]) => on).map(([value]) => value);
    }
  }
  throw invalid(`invalid filter '${key}': expected a list of strings`);
}
