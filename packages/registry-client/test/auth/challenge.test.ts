import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseChallenges } from '../../src/auth/challenge.ts';
import { mergeScopes } from '../../src/auth/scope.ts';

const plain = (header: string | string[] | undefined) =>
  parseChallenges(header).map(({ scheme, params }) => [scheme, Object.fromEntries(params)]);

test.each<[string | string[] | undefined, unknown[]]>([
  [undefined, []],
  ['', []],
  ['Basic', [['basic', {}]]],
  ['Basic realm="x"', [['basic', { realm: 'x' }]]],
  [
    'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"',
    [
      [
        'bearer',
        { realm: 'https://auth.example/token', service: 'registry', scope: 'repository:a/b:pull,push' },
      ],
    ],
  ],
  ['BEARER Realm=x , SERVICE = "y"', [['bearer', { realm: 'x', service: 'y' }]]],
  ['Bearer realm="a \\"b\\" \\\\c"', [['bearer', { realm: 'a "b" \\c' }]]],
  [
    'Basic realm="a, Bearer realm=b", Bearer realm="c"',
    [
      ['basic', { realm: 'a, Bearer realm=b' }],
      ['bearer', { realm: 'c' }],
    ],
  ],
  [
    ['Bearer realm="a"', 'Basic realm="b"'],
    [
      ['bearer', { realm: 'a' }],
      ['basic', { realm: 'b' }],
    ],
  ],
  ['Bearer realm="a",realm="b"', [['bearer', { realm: 'a' }]]],
  // what broken quotes leave are words that no scheme is called, so nobody answers them
  ['Bearer realm="x y', [['bearer', {}], ['realm', {}], ['x', {}], ['y', {}]]], // prettier-ignore
])('%j is read as %j', (header, expected) => {
  expect(plain(header)).toEqual(expected);
});

test('whatever is sent is read without failing and in short time', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'aB,="\\ \t;:x/') }), (header) => {
      for (const { scheme, params } of parseChallenges(header)) {
        expect(scheme).toBe(scheme.toLowerCase());
        expect(params.size).toBeLessThanOrEqual(header.length);
      }
    }),
  );
  const started = performance.now();
  for (const piece of ['a="', '\\', 'a=', ' ', 'a ', '"']) parseChallenges(piece.repeat(1_000_000));
  expect(performance.now() - started).toBeLessThan(2_000);
});

test('any parameters survive being quoted', () => {
  const key = fc.stringMatching(/^[a-z]{1,8}$/);
  // oxlint-disable-next-line no-control-regex
  const value = fc.string({ maxLength: 30 }).filter((text) => !/[\r\n\u0000]/.test(text));
  fc.assert(
    fc.property(fc.dictionary(key, value, { noNullPrototype: true }), (params) => {
      const quoted = Object.entries(params).map(
        ([name, text]) => `${name}="${text.replace(/["\\]/g, '\\$&')}"`,
      );
      expect(plain(`Bearer ${quoted.join(', ')}`)).toEqual([['bearer', params]]);
    }),
  );
});

test('scopes of one resource are joined', () => {
  expect(mergeScopes(['repository:b:pull', 'repository:a:push,pull', 'repository:b:push'])).toEqual([
    'repository:a:pull,push',
    'repository:b:pull,push',
  ]);
  expect(mergeScopes(['repository:host:5000/a:pull'])).toEqual(['repository:host:5000/a:pull']);
  expect(mergeScopes(['', 'nonsense'])).toEqual([]);
});
