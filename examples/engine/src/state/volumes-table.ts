/** Volumes as rows. */
import type { Migration, StateDb } from './db.ts';

export const volumesMigrations: readonly Migration[] = [
  {
    id: 'volumes/1',
    sql: `
      CREATE TABLE volume (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    `,
  },
];

/** One volume of the `local` driver. */
export interface VolumeRecord {
  name: string;
  created: string;
  /** Null when none were given. */
  labels: Record<string, string> | null;
  options: Record<string, string> | null;
  /** Made for one container, without a name of the user's. */
  anonymous: boolean;
}

/** The volumes' table. */
export class VolumesTable {
  readonly #statements;

  constructor(db: StateDb) {
    this.#statements = {
      insert: db.prepare('INSERT INTO volume (name, record) VALUES (?, ?)'),
      remove: db.prepare('DELETE FROM volume WHERE name = ?'),
      list: db.prepare('SELECT record FROM volume ORDER BY name'),
    };
  }

  insert(record: VolumeRecord): void {
    this.#statements.insert.run(record.name, JSON.stringify(record));
  }

  remove(name: string): void {
    this.#statements.remove.run(name);
  }

  /** Every volume, by name. */
  list(): VolumeRecord[] {
    return this.#statements.list.all().map((row) => JSON.parse(row['record'] as string) as VolumeRecord);
  }
}
