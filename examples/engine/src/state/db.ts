/** The engine's database: one SQLite file, one writer, versioned migrations. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { systemError } from '../errors.ts';

/** One step of the schema. Steps run once, in the order of the list, each in its own transaction. */
export interface Migration {
  /** Unique and never changed once released, for example `'images/1'`. */
  id: string;
  sql: string;
}

/** SQLite's own default. */
const PAGE_BYTES = 4096;
const RESERVE_BYTES = 1024 * 1024;

/**
 * An open database.
 *
 * Each resource has one module `<resource>-table.ts` next to this one: a class that prepares its statements in the
 * constructor and speaks in records, and a list of migrations. No resource touches another one's table.
 */
export class StateDb implements Disposable {
  readonly #db: DatabaseSync;
  #depth = 0;

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /**
   * Opens or creates the database at `path` (`':memory:'` for tests) and brings its schema up to date.
   *
   * The file stays locked until it is closed: a second engine on the same data root is refused.
   *
   * @throws {EngineError} `SYSTEM` when another engine has it, or it was written by a newer version
   */
  static open(path: string, migrations: readonly Migration[]): StateDb {
    if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    let db: DatabaseSync | undefined;
    try {
      db = new DatabaseSync(path);
      // exclusive: no shared-memory file, and no second engine; NORMAL survives kill -9, and WAL keeps a power cut
      // from corrupting anything, at the price of the last commits
      db.exec(`
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        PRAGMA foreign_keys = ON;
        CREATE TABLE IF NOT EXISTS migration (id TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT;
      `);
      const state = new StateDb(db);
      state.#migrate(path, migrations);
      state.#reserve();
      return state;
    } catch (error) {
      db?.close();
      if ((error as { errstr?: string }).errstr === 'database is locked') {
        throw systemError(`cannot open ${path}: another engine is using this data root`, { cause: error });
      }
      throw error;
    }
  }

  /** Space inside of the files, for what has to be written when the disk is full: that something has ended, and goes. */
  #reserve(): void {
    const free = this.prepare('PRAGMA freelist_count').get()!['freelist_count'] as number;
    if (free * PAGE_BYTES >= RESERVE_BYTES / 2) return;
    this.#db.exec(`
      CREATE TABLE reserve (bytes BLOB);
      INSERT INTO reserve VALUES (zeroblob(${RESERVE_BYTES}));
      DROP TABLE reserve;
      PRAGMA wal_checkpoint(RESTART);
    `);
  }

  #migrate(path: string, migrations: readonly Migration[]): void {
    const applied = new Set(
      this.prepare('SELECT id FROM migration')
        .all()
        .map((row) => row['id'] as string),
    );
    const known = new Set(migrations.map(({ id }) => id));
    const foreign = [...applied].filter((id) => !known.has(id));
    if (foreign.length > 0) {
      throw systemError(
        `cannot open ${path}: it was written by a newer version (unknown migrations: ${foreign.join(', ')}); ` +
          'use that version, or another --data-root',
      );
    }
    const record = this.prepare('INSERT INTO migration (id, applied_at) VALUES (?, ?)');
    for (const { id, sql } of migrations) {
      if (applied.has(id)) continue;
      this.transaction(() => {
        this.#db.exec(sql);
        record.run(id, new Date().toISOString());
      });
    }
  }

  /** Prepares a statement. Prepare once, in the constructor of a table. */
  prepare(sql: string): StatementSync {
    return this.#db.prepare(sql);
  }

  /** Runs `work` in a transaction; what it throws undoes it. Nested calls join the outer one. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#db.exec('BEGIN IMMEDIATE');
    this.#depth += 1;
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      this.#db.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth -= 1;
    }
  }

  [Symbol.dispose](): void {
    if (this.#db.isOpen) this.#db.close();
  }
}
