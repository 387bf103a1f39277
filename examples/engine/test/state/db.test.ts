import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StateDb, type Migration } from '../../src/state/db.ts';

const first: Migration = { id: 'a/1', sql: 'CREATE TABLE a (x INTEGER) STRICT' };
const second: Migration = { id: 'a/2', sql: 'ALTER TABLE a ADD COLUMN y TEXT' };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-db-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('StateDb', () => {
  it('applies each migration once, in order', () => {
    const path = join(directory, 'state.db');
    StateDb.open(path, [first])[Symbol.dispose]();
    using db = StateDb.open(path, [first, second]);
    db.prepare('INSERT INTO a (x, y) VALUES (1, ?)').run('one');
    expect(db.prepare('SELECT y FROM a').get()).toEqual({ y: 'one' });
  });

  it('refuses a database of a newer version', () => {
    const path = join(directory, 'state.db');
    StateDb.open(path, [first, second])[Symbol.dispose]();
    expect(() => StateDb.open(path, [first])).toThrow('written by a newer version (unknown migrations: a/2)');
  });

  it('leaves nothing of a migration that fails', () => {
    const path = join(directory, 'state.db');
    const broken = { id: 'a/2', sql: 'CREATE TABLE b (x); SELECT nope' };
    expect(() => StateDb.open(path, [first, broken])).toThrow('nope');
    using db = StateDb.open(path, [first]);
    expect(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'b'").get()).toEqual({ n: 0 });
  });

  it('refuses a second engine on the same data root', () => {
    const path = join(directory, 'state.db');
    using _db = StateDb.open(path, [first]);
    expect(() => StateDb.open(path, [first])).toThrow('another engine is using this data root');
  });

  it('undoes a transaction that throws, nested ones with it', () => {
    using db = StateDb.open(':memory:', [first]);
    const insert = db.prepare('INSERT INTO a (x) VALUES (?)');
    expect(() =>
      db.transaction(() => {
        insert.run(1);
        db.transaction(() => insert.run(2));
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(db.prepare('SELECT count(*) AS n FROM a').get()).toEqual({ n: 0 });
  });

  it('keeps what was committed when the process is killed, and is free again', () => {
    const path = join(directory, 'state.db');
    const program = `
      import { StateDb } from ${JSON.stringify(import.meta.resolve('../../src/state/db.ts'))};
      const db = StateDb.open(${JSON.stringify(path)}, [${JSON.stringify(first)}]);
      db.transaction(() => db.prepare('INSERT INTO a (x) VALUES (7)').run());
      process.kill(process.pid, 'SIGKILL');
    `;
    expect(() => execFileSync(process.execPath, ['--input-type=module', '-e', program])).toThrow();
    using db = StateDb.open(path, [first]);
    expect(db.prepare('SELECT x FROM a').get()).toEqual({ x: 7 });
  });
});
