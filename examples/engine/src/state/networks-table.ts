/** Networks as rows. */
import type { Network } from '@tare/netdriver';

import type { Migration, StateDb } from './db.ts';

export const networksMigrations: readonly Migration[] = [
  {
    id: 'networks/1',
    sql: `
      -- made: what the driver made of it, null until then; a row of a user's network without it is swept at start
      CREATE TABLE network (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        record TEXT NOT NULL,
        made TEXT
      ) STRICT;
    `,
  },
];

/** One subnet of a network, as its creator gave it. */
export interface IpamPool {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string>;
}

/** One network, as its creator wants it. */
export interface NetworkRecord {
  id: string;
  name: string;
  created: string;
  /** `bridge`, `macvlan`, `ipvlan`, `host` or `null`. */
  driver: string;
  /** Default true. */
  ipv4?: boolean;
  /** Default false. */
  ipv6?: boolean;
  /** Made by the engine; cannot be removed. */
  predefined: boolean;
  internal: boolean;
  attachable: boolean;
  /** Interface name of the bridge; empty for host and null. */
  bridgeName: string;
  ipam: { driver: string; options: Record<string, string> | null; pools: IpamPool[] };
  options: Record<string, string>;
  labels: Record<string, string>;
  /** A configuration for others to be made with; its driver is `null`. */
  configOnly?: boolean;
  /** Name of the configuration that it was made with. */
  configFrom?: string;
}

/** One row. */
export interface NetworkRow {
  record: NetworkRecord;
  made: Network | undefined;
}

/** The networks' table. */
export class NetworksTable {
  readonly #statements;

  constructor(db: StateDb) {
    this.#statements = {
      insert: db.prepare('INSERT INTO network (id, name, record) VALUES (?, ?, ?)'),
      made: db.prepare('UPDATE network SET made = ? WHERE id = ?'),
      remove: db.prepare('DELETE FROM network WHERE id = ?'),
      list: db.prepare('SELECT record, made FROM network ORDER BY rowid'),
    };
  }

  /** Adds a network that is yet to be made. */
  insert(record: NetworkRecord): void {
    this.#statements.insert.run(record.id, record.name, JSON.stringify(record));
  }

  saveMade(id: string, made: Network): void {
    this.#statements.made.run(JSON.stringify(made), id);
  }

  remove(id: string): void {
    this.#statements.remove.run(id);
  }

  /** Every network, oldest first. */
  list(): NetworkRow[] {
    return this.#statements.list.all().map((row) => ({
      record: JSON.parse(row['record'] as string) as NetworkRecord,
      made: row['made'] === null ? undefined : (JSON.parse(row['made'] as string) as Network),
    }));
  }
}
