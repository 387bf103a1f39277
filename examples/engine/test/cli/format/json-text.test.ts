import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeHtml, indentJson, parseJson, stringifyJson } from '../../../src/cli/format/json-text.ts';

describe('parseJson', () => {
  it('keeps every digit of integers beyond 2^53', () => {
    const text =
      '{"timeNano":1795467441293129247,"max":9223372036854775807,"small":1,"float":1.5,"text":"12345678901234567890"}';
    expect(parseJson(text)).toEqual({
      timeNano: 1795467441293129247n,
      max: 9223372036854775807n,
      small: 1,
      float: 1.5,
      text: '12345678901234567890',
    });
    expect(stringifyJson(parseJson(text))).toBe(text);
  });

  it('gives back what JSON.stringify wrote', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(stringifyJson(parseJson(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });
});

describe('indentJson', () => {
  it('leaves numbers and escapes as they are spelled, and empty collections on one line', () => {
    const text = '[{"a":1.50,"b":"x\\u003e \\"{}[],: \\\\","c":[],"d":{},"e":[1,null]}]';
    expect(indentJson(text)).toBe(
      '[\n    {\n        "a": 1.50,\n        "b": "x\\u003e \\"{}[],: \\\\",\n        "c": [],\n        "d": {},\n        "e": [\n            1,\n            null\n        ]\n    }\n]',
    );
  });

  it('indents as JSON.stringify does', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(indentJson(JSON.stringify(value))).toBe(JSON.stringify(value, null, 4));
      }),
    );
  });
});

it('escapes what Go escapes', () => {
  expect(escapeHtml('{"a":"<b>&"}')).toBe('{"a":"\\u003cb\\u003e\\u0026"}');
});
