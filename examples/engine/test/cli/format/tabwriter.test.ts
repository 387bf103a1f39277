import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alignTabs } from '../../../src/cli/format/tabwriter.ts';

describe('alignTabs', () => {
  it('pads every cell but the last to the widest of its column and three', () => {
    expect(alignTabs('A LONG HEADING\tB\tC\nx\ty\tz\n')).toBe(
      'A LONG HEADING   B         C\nx                y         z\n',
    );
  });

  it('keeps a column ten wide even when it is empty', () => {
    expect(alignTabs('a\t\tb\n')).toBe('a                   b\n');
  });

  it('ends a column at a row that does not reach it', () => {
    const text = 'aaaaaaaaaaaaaaa\tb\nheading\nc\td\n';
    expect(alignTabs(text)).toBe('aaaaaaaaaaaaaaa   b\nheading\nc         d\n');
  });

  it('counts characters, not bytes or UTF-16 units', () => {
    expect(alignTabs('sh -c …\tb\n😀\tc\n')).toBe('sh -c …   b\n😀         c\n');
  });

  it('honours another minimum and padding, as version and top have', () => {
    expect(alignTabs('ab\tc\n', { minWidth: 20, padding: 1 })).toBe(`ab${' '.repeat(18)}c\n`);
  });

  it('changes nothing but tabs into spaces', () => {
    const cell = fc.string({ maxLength: 12 }).map((text) => text.replace(/[\t\n ]/g, ''));
    fc.assert(
      fc.property(fc.array(fc.array(cell, { minLength: 1, maxLength: 4 })), (rows) => {
        const text = rows.map((cells) => cells.join('\t')).join('\n');
        expect(alignTabs(text).replace(/ /g, '')).toBe(text.replace(/\t/g, ''));
      }),
    );
  });

  it('starts a column at the same place in every row of a full table', () => {
    const word = fc
      .string({ minLength: 1, maxLength: 30 })
      .map((text) => text.replace(/[\t\n\s]/g, '_') || '_');
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word, word), { minLength: 1, maxLength: 8 }), (rows) => {
        const lines = alignTabs(rows.map((cells) => `${cells.join('\t')}\n`).join(''))
          .split('\n')
          .slice(0, -1);
        const starts = lines.map((line, row) => [...line].length - [...rows[row]![2]].length);
        expect(new Set(starts).size).toBe(1);
      }),
    );
  });
});
