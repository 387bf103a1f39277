/** Query parameters, read the way dockerd reads them. */
import { parseFilters, type Filters } from '../filters.ts';

const FALSE_VALUES = new Set(['', '0', 'no', 'false', 'none']);

/** The query of one request. Missing parameters are undefined, except where a default is taken. */
export class Query {
  readonly #parameters: URLSearchParams;

  constructor(search: string) {
    this.#parameters = new URLSearchParams(search);
  }

  has(name: string): boolean {
    return this.#parameters.has(name);
  }

  /** The first value; undefined when the parameter is missing. */
  get(name: string): string | undefined {
    return this.#parameters.get(name) ?? undefined;
  }

  /** Every value of a repeated parameter. */
  getAll(name: string): string[] {
    return this.#parameters.getAll(name);
  }

  /** `"", 0, no, false, none` are false, anything else is true; `fallback` when missing. */
  bool(name: string, fallback = false): boolean {
    const value = this.get(name);
    return value === undefined ? fallback : !FALSE_VALUES.has(value.trim().toLowerCase());
  }

  /** A decimal integer; `fallback` when missing or unreadable, as dockerd does silently. */
  int(name: string, fallback: number): number {
    const value = this.get(name)?.trim();
    return value !== undefined && /^[+-]?\d{1,15}$/.test(value) ? Number(value) : fallback;
  }

  /** The `filters` parameter. @throws {EngineError} `INVALID` */
  filters(allowed: readonly string[]): Filters {
    return parseFilters(this.get('filters'), allowed);
  }
}
