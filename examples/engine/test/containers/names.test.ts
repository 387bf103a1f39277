import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { lookup, newId, parseName, randomName, shortId } from '../../src/containers/names.ts';

const item = (id: string, name: string) => ({ id, name });
const map = (...items: { id: string; name: string }[]) => new Map(items.map((entry) => [entry.id, entry]));

describe('names', () => {
  it.each(['ab', 'web.1', '/web', 'A-b_c', '0a'])('accepts %s', (name) => {
    expect(parseName(name)).toBe(name.replace(/^\//, ''));
  });

  it.each(['', 'a', '/', '-ab', '.ab', 'a b', 'a/b', 'ü1', 'a\n', '//ab'])('refuses %j', (name) => {
    expect(() => parseName(name)).toThrow('only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed');
  });

  it('makes ids of 64 hex digits whose short form is never a number', () => {
    for (let index = 0; index < 2000; index += 1) {
      const id = newId();
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(shortId(id)).toMatch(/[a-f]/);
    }
  });

  it('makes random names of the grammar, and falls back when all are taken', () => {
    const name = randomName(() => false, 'id');
    expect(parseName(name)).toBe(name);
    expect(name).toMatch(/^[a-z]+_[a-z]+$/);
    expect(randomName(() => true, 'id')).toBe('id');
    let tries = 0;
    expect(randomName(() => (tries += 1) < 2, 'id')).toMatch(/^[a-z]+_[a-z]+\d$/);
  });
});

describe('lookup', () => {
  const a = item(`aa${'0'.repeat(62)}`, 'web');
  const b = item(`ab${'0'.repeat(62)}`, 'aa');
  const items = map(a, b);

  it('finds by full id, name with or without slash, and unique prefix', () => {
    expect(lookup(items, a.id)).toBe(a);
    expect(lookup(items, 'web')).toBe(a);
    expect(lookup(items, '/web')).toBe(a);
    expect(lookup(items, 'ab0')).toBe(b);
  });

  it('prefers a name to an id prefix', () => {
    expect(lookup(items, 'aa')).toBe(b);
  });

  it('refuses a prefix of several', () => {
    expect(() => lookup(items, 'a')).toThrow('multiple IDs found with provided prefix: a');
  });

  it('names what is not there', () => {
    expect(() => lookup(items, 'nosuch')).toThrow('No such container: nosuch');
  });

  it('never finds anything but what fits', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.stringMatching(/^[0-9a-f]{8}$/), { minLength: 1 }),
        fc.stringMatching(/^[0-9a-f]{1,8}$/),
        (ids, text) => {
          const all = map(...ids.map((id) => item(id, `name-${id}`)));
          let found;
          try {
            found = lookup(all, text);
          } catch {
            const fits = ids.filter((id) => id.startsWith(text));
            expect(fits.length).not.toBe(1);
            return;
          }
          expect(found.id.startsWith(text)).toBe(true);
        },
      ),
    );
  });
});
