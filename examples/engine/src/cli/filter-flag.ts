/** `--filter name=value`, repeated. */
import { UsageError } from './errors.ts';
import type { Flag } from './flags.ts';

export type Filters = ReadonlyMap<string, readonly string[]>;

/** The flag every listing and pruning command shares. */
export function filterFlag(help: string, short: string | undefined = 'f'): Flag<Filters> {
  return {
    help,
    ...(short && { short }),
    placeholder: 'filter',
    initial: new Map(),
    parse(text, previous) {
      if (text === '') return previous;
      const at = text.indexOf('=');
      if (at === -1) throw new UsageError('bad format of filter (expected name=value)');
      return withFilter(previous, text.slice(0, at).trim().toLowerCase(), text.slice(at + 1).trim());
    },
  };
}

/** The filters and one more. */
export function withFilter(filters: Filters, name: string, value: string): Filters {
  return new Map(filters).set(name, [...(filters.get(name) ?? []), value]);
}
