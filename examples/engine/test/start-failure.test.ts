/** What the person reads whose daemon did not start. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeRoot, startFailure } from '../src/start-failure.ts';

const config = { dataRoot: '/data' };
const coded = (message: string, fields: object): Error => Object.assign(new Error(message), fields);

describe('a failed start', () => {
  it.each([
    ['a full disk', coded('ENOSPC: no space left on device, write', { code: 'ENOSPC' })],
    ['a full database', coded('database or disk is full', { code: 'ERR_SQLITE_ERROR', errcode: 13 })],
  ])('tells of %s where it is', (_what, error) => {
    expect(startFailure(error, config)).toBe(
      'no space is left for /data: make some, or give another --data-root',
    );
  });

  it('tells what to do about another daemon', () => {
    const used = coded('the snapshots in /data/x are in use by process 7', { code: 'IN_USE' });
    expect(startFailure(used, config)).toContain('stop it, or give this one another');
    const shared = coded(
      'nf_tables table "tare" cannot be changed: another running process owns it, or …',
      {},
    );
    expect(startFailure(shared, config)).toContain('Two daemons cannot share a network');
  });

  it('is what began it, not what came on top while things were taken down', () => {
    const first = new Error('first');
    const second = new SuppressedError(new Error('later'), first);
    const third = new SuppressedError(new Error('last'), new AggregateError([second], 'several'));
    expect(startFailure(third, config)).toBe('first');
  });
});

describe('a folder of the daemon', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'root-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is made with those above it, and may be there', () => {
    const path = join(folder, 'a', 'b');
    makeRoot('--data-root', path);
    makeRoot('--data-root', path);
    expect(statSync(path).mode & 0o777).toBe(0o711);
  });

  it.each([
    ['where a file is', (at: string) => at],
    ['below a file', (at: string) => join(at, 'below')],
  ])('is refused %s', (_where, path) => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(() => makeRoot('--data-root', path(file))).toThrow(
      /cannot make the folder .*; give another --data-root/,
    );
  });

  it.skipIf(!existsSync('/proc/self'))(
    'is refused where there can be none, rather than tried for ever',
    () => {
      expect(() => makeRoot('--data-root', '/proc/none/here')).toThrow(
        'cannot make the folder /proc/none/here',
      );
    },
  );
});
