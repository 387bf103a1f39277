/** Containers as rows: what they are, and how they are doing. */
import type { Migration, StateDb } from './db.ts';

export const containersMigrations: readonly Migration[] = [
  {
    id: 'containers/1',
    sql: `
      -- phase: 'creating' until everything the container owns is there, then 'ready'; 'removing' from the first thing
      -- taken away on. A row that is not 'ready' at the start of an engine is swept, with what it owns.
      CREATE TABLE container (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        phase TEXT NOT NULL CHECK (phase IN ('creating', 'ready', 'removing')),
        record TEXT NOT NULL,
        state TEXT NOT NULL
      ) STRICT;
    `,
  },
];

/** How far a container's making or removing is. */
export type ContainerPhase = 'creating' | 'ready' | 'removing';

/** What a container's record must have to be a row; the rest is the container service's own. */
export interface ContainerKey {
  id: string;
  name: string;
}

/** One row. */
export interface ContainerRow<Content extends ContainerKey, State> {
  phase: ContainerPhase;
  record: Content;
  state: State;
}

/** The containers' table. Record and state are apart, because the state is written far more often. */
export class ContainersTable<Content extends ContainerKey, State> {
  readonly #statements;

  constructor(db: StateDb) {
    this.#statements = {
      insert: db.prepare('INSERT INTO container (id, name, phase, record, state) VALUES (?, ?, ?, ?, ?)'),
      phase: db.prepare('UPDATE container SET phase = ? WHERE id = ?'),
      record: db.prepare('UPDATE container SET name = ?, record = ? WHERE id = ?'),
      state: db.prepare('UPDATE container SET state = ? WHERE id = ?'),
      remove: db.prepare('DELETE FROM container WHERE id = ?'),
      list: db.prepare('SELECT phase, record, state FROM container ORDER BY rowid'),
    };
  }

  /** Adds a container in phase `'creating'`. Fails on a taken id or name. */
  insert(record: Content, state: State): void {
    this.#statements.insert.run(
      record.id,
      record.name,
      'creating',
      JSON.stringify(record),
      JSON.stringify(state),
    );
  }

  setPhase(id: string, phase: ContainerPhase): void {
    this.#statements.phase.run(phase, id);
  }

  /** Writes what create, rename or update changed. */
  saveRecord(record: Content): void {
    this.#statements.record.run(record.name, JSON.stringify(record), record.id);
  }

  saveState(id: string, state: State): void {
    this.#statements.state.run(JSON.stringify(state), id);
  }

  remove(id: string): void {
    this.#statements.remove.run(id);
  }

  /** Every container, oldest first. */
  list(): ContainerRow<Content, State>[] {
    return this.#statements.list.all().map((row) => ({
      phase: row['phase'] as ContainerPhase,
      record: JSON.parse(row['record'] as string) as Content,
      state: JSON.parse(row['state'] as string) as State,
    }));
  }
}
