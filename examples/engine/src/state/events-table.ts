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

/** The events' table. What an event is besides its time, in nanoseconds, is the event bus's own. */
export class EventsTable<Event extends { timeNs: bigint }> {
  readonly #statements;
  #untilTrim = 0;

  constructor(db: StateDb) {
    this.#statements = {
      add: db.prepare('INSERT INTO event (event) VALUES (?)'),
      trim: db.prepare('DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?'),
      last: db.prepare('SELECT event FROM event ORDER BY number DESC LIMIT ?'),
    };
  }

  /** Adds an event, and lets go of all but the last `keep`, or a few more. */
  add(event: Event, keep: number): void {
    this.#statements.add.run(JSON.stringify({ ...event, timeNs: event.timeNs.toString() }));
    this.#untilTrim -= 1;
    if (this.#untilTrim > 0) return;
    this.#statements.trim.run(keep);
    this.#untilTrim = SLACK;
  }

  /** The last so many, oldest first. */
  last(count: number): Event[] {
    return this.#statements.last
      .all(count)
      .map((row) => {
        const event = JSON.parse(row['event'] as string) as Event & { timeNs: string };
        return { ...event, timeNs: BigInt(event.timeNs) };
      })
      .reverse();
  }
}
