import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseFilters } from '../src/filters.ts';

describe('parseFilters', () => {
  it('accepts the new form and the old one', () => {
    for (const text of ['{"label":{"a=b":true,"c":true,"off":false}}', '{"label":["a=b","c"]}']) {
      expect(parseFilters(text, ['label']).values('label')).toEqual(['a=b', 'c']);
    }
  });

  it('takes nothing and null for no filters', () => {
    for (const text of [undefined, '', '{}', 'null']) expect(parseFilters(text, []).keys()).toEqual([]);
  });

  it("refuses unknown keys in dockerd's words", () => {
    expect(() => parseFilters('{"xyz":["1"]}', ['label'])).toThrow("invalid filter 'xyz'");
  });

  it.each(['{', '[]', '"x"', '{"label":"a"}', '{"label":[1]}', '{"label":{"a":1}}'])('refuses %s', (text) => {
    expect(() => parseFilters(text, ['label'])).toThrow(expect.objectContaining({ code: 'INVALID' }));
  });

  it('never fails with anything but INVALID', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseFilters(text, ['a', 'b']);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID' });
        }
      }),
    );
  });
});

describe('Filters', () => {
  it('wants every label given, by key or by value', () => {
    const filters = parseFilters('{"label":["a=b","c"],"label!":["d"]}', ['label', 'label!']);
    expect(filters.matchesLabels({ a: 'b', c: '' })).toBe(true);
    expect(filters.matchesLabels({ a: 'b', c: '', d: 'x' })).toBe(false);
    expect(filters.matchesLabels({ a: 'x', c: '' })).toBe(false);
    expect(filters.matchesLabels(null)).toBe(false);
  });

  it('reads booleans and refuses both at once', () => {
    const bool = (text: string) => parseFilters(text, ['dangling']).bool('dangling');
    expect(bool('{"dangling":["true"]}')).toBe(true);
    expect(bool('{"dangling":{"0":true}}')).toBe(false);
    expect(bool('{}')).toBeUndefined();
    expect(() => bool('{"dangling":["maybe"]}')).toThrow('dangling');
    expect(() => bool('{"dangling":["true","false"]}')).toThrow('dangling');
  });
});
