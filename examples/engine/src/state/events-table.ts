/** Events as rows: the last of them, for clients that come back after the engine did. */
import type { Migration, StateDb } from './db.ts';

export const eventsMigrations: readonly Migration[] = [
  {
    id: 'events/1',
    sql: 'CREATE TABLE event (number INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;',
  },
];

/** So many more than asked for are kept, so that not every event takes an old one away. */
const SLACK = 256;

/**
 * The events' table. What an event is besides its time, in nanoseconds, is the event bus's own. Those that
 * are added in one go are written together, and before whoever waits for what they tell of hears of it.
 */
export class EventsTable<Event extends { timeNs: bigint }> implements Disposable {
  readonly #db: StateDb;
  readonly #statements;
  #untilTrim = 0;
  #waiting: string[] = [];
  #keep = 0;

  constructor(db: StateDb) {
    this.#db = db;
    this.#statements = {
      add: db.prepare('INSERT INTO event (event) VALUES (?)'),
      trim: db.prepare('DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?'),
      last: db.prepare('SELECT event FROM event ORDER BY number DESC LIMIT ?'),
    };
  }

  /** Adds an event, and lets go of all but the last `keep`, or a few more. */
  add(event: Event, keep: number): void {
    if (this.#waiting.length === 0) queueMicrotask(() => this.#write());
    this.#waiting.push(JSON.stringify({ ...event, timeNs: event.timeNs.toString() }));
    this.#keep = keep;
  }

  #write(): void {
    const events = this.#waiting;
    this.#waiting = [];
    if (events.length === 0) return;
    this.#db.transaction(() => {
      for (const event of events) this.#statements.add.run(event);
      this.#untilTrim -= events.length;
      if (this.#untilTrim > 0) return;
      this.#statements.trim.run(this.#keep);
      this.#untilTrim = SLACK;
    });
  }

  /** The last so many, oldest first. */
  last(count: number): Event[] {
    this.#write();
    return this.#statements.last
      .all(count)
      .map((row) => {
        const event = JSON.parse(row['event'] as string) as Event & { timeNs: string };
        return { ...event, timeNs: BigInt(event.timeNs) };
      })
      .reverse();
  }

  /** Writes what waits. */
  [Symbol.dispose](): void {
    this.#write();
  }
}
