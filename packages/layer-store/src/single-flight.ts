/** The same work, asked for by several at once, done once. */
import { raceAbort } from './abort.ts';

interface Flight<V> {
  result: Promise<V>;
  waiting: number;
  controller: AbortController;
}

/** Work by key. A caller that aborts leaves; the work itself is aborted when the last one has left. */
export class SingleFlight<K, V> {
  readonly #flights = new Map<K, Flight<V>>();

  /** The work under way for `key`, if there is any; it is not kept alive by asking. */
  current(key: K): Promise<V> | undefined {
    return this.#flights.get(key)?.result;
  }

  /** Joins the work for `key`, or starts it. */
  async run(key: K, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<V>): Promise<V> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiting += 1;
    try {
      return await raceAbort(flight.result, signal);
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0 && signal?.aborted === true) {
        flight.controller.abort(signal.reason);
        // whoever comes now starts anew, but the one who leaves last leaves nothing running
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        await flight.result.catch(() => undefined);
      }
    }
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#flights.values()].map(({ result }) => result));
  }

  #start(key: K, work: (signal: AbortSignal) => Promise<V>): Flight<V> {
    const controller = new AbortController();
    const flight: Flight<V> = { result: work(controller.signal), waiting: 0, controller };
    const finished = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    flight.result.then(finished, finished);
    this.#flights.set(key, flight);
    return flight;
  }
}
