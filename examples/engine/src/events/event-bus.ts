/** What happened in the engine, for everybody who listens, and the last of it for those who come late. */
import type { Filters } from '../filters.ts';
import { nowNs } from '../time.ts';

/** Things that events are about. */
export type EventType = 'container' | 'image' | 'network' | 'volume' | 'daemon' | 'builder';

/** An event as it is published. */
export interface EventInput {
  type: EventType;
  /** For example `'start'`; some carry a suffix: `'exec_create: ls -l'`, `'health_status: healthy'`. */
  action: string;
  /** Id (of an image: its name when it was named) of what it happened to. */
  id: string;
  /** For containers: `image`, `name` and every label; plus what the action adds, all as text. */
  attributes?: Readonly<Record<string, string>>;
}

/** An event as it happened. */
export interface EngineEvent extends Required<EventInput> {
  scope: 'local';
  /** Nanoseconds since the epoch. */
  timeNs: bigint;
}

/** Which events a listener wants. */
export interface EventQuery {
  /** Also those remembered, from this time (nanoseconds since the epoch) on. */
  sinceNs?: bigint;
  /** End of the stream. */
  untilNs?: bigint;
  filter?: (event: EngineEvent) => boolean;
  signal?: AbortSignal;
}

/** Events remembered for `since`. */
const HISTORY = 256;
/** A listener that is this far behind is cut off rather than let grow without bound. */
const MAX_BACKLOG = 65_536;
const NS_PER_MS = 1_000_000n;
/** The longest delay setTimeout takes. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

type Listener = (event: EngineEvent) => void;

/** Where events are kept over the end of an engine. */
export interface EventStore {
  /** Adds an event, and lets go of all but the last `keep`. */
  add(event: EngineEvent, keep: number): void;
  /** The last so many, oldest first. */
  last(count: number): EngineEvent[];
}

/** What an event bus may have besides. */
export interface EventBusOptions {
  store?: EventStore;
  /** Told of every event. */
  observer?: (event: EngineEvent) => void;
}

/** The engine's events. Publishing never waits and never fails. */
export class EventBus {
  readonly #history: EngineEvent[];
  readonly #store: EventStore | undefined;
  readonly #observer: (event: EngineEvent) => void;
  readonly #listeners = new Set<Listener>();

  constructor(options: EventBusOptions = {}) {
    this.#store = options.store;
    this.#observer = options.observer ?? (() => undefined);
    this.#history = this.#store?.last(HISTORY) ?? [];
  }

  /** Listeners now connected. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** Tells everybody. */
  publish(input: EventInput): EngineEvent {
    const event: EngineEvent = {
      ...input,
      attributes: { ...input.attributes },
      scope: 'local',
      timeNs: nowNs(),
    };
    this.#history.push(event);
    if (this.#history.length > HISTORY) this.#history.shift();
    this.#store?.add(event, HISTORY);
    this.#observer(event);
    for (const listener of this.#listeners) listener(event);
    return event;
  }

  /**
   * Events as they happen, those remembered first. Listening begins with this call, not with the first `next()`.
   *
   * Ends at `untilNs` or when `signal` aborts, without an error.
   */
  subscribe(query: EventQuery = {}): AsyncIterableIterator<EngineEvent> & AsyncDisposable {
    const { sinceNs, untilNs, filter = () => true, signal } = query;
    const queue: EngineEvent[] = [];
    let wake: (() => void) | undefined;
    let ended = signal?.aborted === true;
    let timer: NodeJS.Timeout | undefined;

    const wanted = (event: EngineEvent): boolean =>
      (untilNs === undefined || event.timeNs <= untilNs) && filter(event);
    const listener: Listener = (event) => {
      if (!wanted(event)) return;
      queue.push(event);
      if (queue.length > MAX_BACKLOG) end();
      wake?.();
    };
    const end = (): void => {
      ended = true;
      this.#listeners.delete(listener);
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      wake?.();
    };
    const armTimer = (): void => {
      const left = Number((untilNs! - nowNs()) / NS_PER_MS);
      timer = left <= 0 ? undefined : setTimeout(armTimer, Math.min(left + 1, MAX_TIMEOUT_MS)).unref();
      if (left <= 0) end();
    };

    // a stream that only ends gets history too: `docker events --until` shows what was remembered
    if (sinceNs !== undefined || untilNs !== undefined) {
      queue.push(...this.#history.filter((event) => event.timeNs >= (sinceNs ?? 0n) && wanted(event)));
    }
    if (!ended) {
      this.#listeners.add(listener);
      signal?.addEventListener('abort', end, { once: true });
      if (untilNs !== undefined) armTimer();
    }

    return {
      async next() {
        for (;;) {
          const event = queue.shift();
          if (event) return { done: false, value: event };
          if (ended) return { done: true, value: undefined };
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          await promise;
          wake = undefined;
        }
      },
      return() {
        queue.length = 0;
        end();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
      [Symbol.asyncDispose]() {
        end();
        return Promise.resolve();
      },
    };
  }
}

/** Filter keys of `GET /events`. */
export const EVENT_FILTERS = [
  'type',
  'event',
  'container',
  'image',
  'network',
  'volume',
  'daemon',
  'label',
  'scope',
  'plugin',
  'service',
  'node',
  'secret',
  'config',
] as const;

/** Actions that carry a suffix, which the filter value leaves out. */
const SUFFIXED_ACTIONS = ['exec_create', 'exec_start', 'health_status'];

/** Whether an event passes the filters of `GET /events`. */
export function matchesEvent(filters: Filters, event: EngineEvent): boolean {
  const about = (type: EventType): boolean =>
    !filters.has(type) || (event.type === type && filters.any(type, (value) => names(event, value)));
  return (
    filters.any('type', (value) => value === event.type) &&
    filters.any('event', (value) => matchesAction(event.action, value)) &&
    filters.any('scope', (value) => value === event.scope) &&
    filters.matchesLabels(event.attributes) &&
    about('container') &&
    about('network') &&
    about('volume') &&
    about('daemon') &&
    filters.any('image', (value) => matchesImage(event, value)) &&
    ['plugin', 'service', 'node', 'secret', 'config'].every((key) => !filters.has(key))
  );
}

function matchesAction(action: string, wanted: string): boolean {
  return action === wanted || (SUFFIXED_ACTIONS.includes(wanted) && action.startsWith(`${wanted}:`));
}

function names(event: EngineEvent, value: string): boolean {
  return event.id.startsWith(value) || event.attributes['name']?.startsWith(value) === true;
}

/** Matches the image of an image event or a container event: by id, or by name with or without its tag. */
function matchesImage(event: EngineEvent, value: string): boolean {
  const name = event.type === 'image' ? event.attributes['name'] : event.attributes['image'];
  const candidates = event.type === 'image' ? [event.id, name] : [name];
  return candidates.some(
    (candidate) => candidate !== undefined && (candidate === value || withoutTag(candidate) === value),
  );
}

function withoutTag(name: string): string {
  const colon = name.lastIndexOf(':');
  return colon > name.lastIndexOf('/') ? name.slice(0, colon) : name;
}
