/** Which containers a list shows, and in what order. */
import { invalid } from '../errors.ts';
import type { Filters } from '../filters.ts';
import { STATUS_WORDS, statusWord } from './status.ts';
import type { ContainerStore, LiveContainer } from './store.ts';

/** Filter keys of `GET /containers/json`. */
export const CONTAINER_FILTERS = [
  'ancestor',
  'before',
  'exited',
  'expose',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
] as const;

/** What to list. */
export interface ListQuery {
  /** Also those that do not run. */
  all: boolean;
  /** The newest so many, running or not; 0 for all. */
  limit: number;
  filters: Filters;
}

/**
 * The containers a query selects, newest first.
 *
 * @param imageIdsOf - the ids of the images that an `ancestor` value names
 * @throws {EngineError} `INVALID` for a value that means nothing; `NOT_FOUND` for `before` and `since`
 */
export function listContainers(
  store: ContainerStore,
  query: ListQuery,
  imageIdsOf: (reference: string) => readonly string[],
): LiveContainer[] {
  const { filters } = query;
  const passes = [
    byStatus(query),
    byName(filters),
    byAge(store, filters),
    byImage(filters, imageIdsOf),
    byNetwork(filters),
    byPort(filters),
    byVolume(filters),
    byExit(filters),
    ({ record }: LiveContainer) => filters.any('id', (value) => record.id.startsWith(value)),
    ({ record }: LiveContainer) => filters.matchesLabels(record.config.Labels),
    () => filters.any('is-task', (value) => value === 'false' || value === '0'),
    ({ state }: LiveContainer) =>
      filters.any('health', (value) => value === (state.health?.status ?? 'none')),
  ];
  const selected = store
    .all()
    .filter((container) => passes.every((pass) => pass(container)))
    .reverse();
  return query.limit > 0 ? selected.slice(0, query.limit) : selected;
}

type Pass = (container: LiveContainer) => boolean;

function byStatus({ all, limit, filters }: ListQuery): Pass {
  const wanted = filters.values('status');
  const unknown = wanted.find((value) => !(STATUS_WORDS as readonly string[]).includes(value));
  if (unknown !== undefined) throw invalid(`invalid filter 'status=${unknown}'`);
  if (wanted.length > 0) return ({ state }) => wanted.includes(statusWord(state));
  const shown = all || limit > 0;
  return ({ state }) => shown || state.running;
}

function byName(filters: Filters): Pass {
  const patterns = filters.values('name').map((value) => {
    try {
      return new RegExp(value);
    } catch (error) {
      throw invalid(`invalid filter 'name=${value}': ${(error as Error).message}`, { cause: error });
    }
  });
  return ({ name }) =>
    patterns.length === 0 || patterns.some((pattern) => pattern.test(name) || pattern.test(`/${name}`));
}

function byAge(store: ContainerStore, filters: Filters): Pass {
  const order = store.all();
  const index = (key: string): number | undefined => {
    const [text] = filters.values(key);
    return text === undefined ? undefined : order.indexOf(store.find(text));
  };
  const before = index('before') ?? Number.POSITIVE_INFINITY;
  const since = index('since') ?? -1;
  return (container) => {
    const at = order.indexOf(container);
    return at < before && at > since;
  };
}

function byImage(filters: Filters, imageIdsOf: (reference: string) => readonly string[]): Pass {
  if (!filters.has('ancestor')) return () => true;
  const ids = new Set(filters.values('ancestor').flatMap((reference) => imageIdsOf(reference)));
  return ({ record }) => ids.has(record.imageId);
}

function byNetwork(filters: Filters): Pass {
  return ({ state }) =>
    filters.any('network', (value) =>
      Object.entries(state.networks).some(
        ([name, { networkId }]) => name === value || (networkId !== '' && networkId.startsWith(value)),
      ),
    );
}

function byPort(filters: Filters): Pass {
  const range = (key: string, value: string): { from: number; to: number; protocol: string } => {
    const match = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/.exec(value);
    if (!match) throw invalid(`invalid filter '${key}=${value}'`);
    return {
      from: Number(match[1]),
      to: Number(match[2] ?? match[1]),
      protocol: match[3] ?? 'tcp',
    };
  };
  const exposed = filters.values('expose').map((value) => range('expose', value));
  const published = filters.values('publish').map((value) => range('publish', value));
  const fits = (ranges: typeof exposed, protocol: string, port: number): boolean =>
    ranges.some((item) => item.protocol === protocol && port >= item.from && port <= item.to);
  return ({ record, state }) => {
    const keys = Object.keys(record.config.ExposedPorts ?? {});
    const ports = Object.values(state.networks).flatMap(({ endpoint }) => endpoint?.ports ?? []);
    return (
      (exposed.length === 0 ||
        keys.some((key) => {
          const [port, protocol = 'tcp'] = key.split('/');
          return fits(exposed, protocol, Number(port));
        })) &&
      (published.length === 0 || ports.some(({ protocol, hostPort }) => fits(published, protocol, hostPort)))
    );
  };
}

function byVolume(filters: Filters): Pass {
  return ({ record }) =>
    filters.any('volume', (value) =>
      record.mounts.some(
        ({ name, destination, source }) => name === value || destination === value || source === value,
      ),
    );
}

function byExit(filters: Filters): Pass {
  const codes = filters.values('exited').map((value) => {
    if (!/^-?\d+$/.test(value)) throw invalid(`invalid filter 'exited=${value}'`);
    return Number(value);
  });
  return ({ state }) =>
    codes.length === 0 ||
    (codes.includes(state.exitCode) && !state.running && state.finishedAt !== undefined);
}
