import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseEntryPath, parseWhiteout } from '../../src/index.ts';

test.each([
  ['a/b', ['a', 'b']],
  ['/etc/passwd', ['etc', 'passwd']],
  ['//a///b/', ['a', 'b']],
  ['./a/./b/.', ['a', 'b']],
  ['a/../b', ['b']],
  ['a/b/../../c', ['c']],
  ['.', []],
  ['./', []],
  ['/', []],
  ['a/..', []],
  ['..a/b..', ['..a', 'b..']],
  ['...', ['...']],
])('the name %s is %j', (name, components) => {
  expect(parseEntryPath(name)).toEqual(components);
});

test.each(['..', '../x', '/../x', 'a/../../x', './../x', 'a/b/../../../x', '../../../../etc/passwd'])(
  'the name %s leaves the root and is refused',
  (name) => {
    expect(() => parseEntryPath(name)).toThrow(expect.objectContaining({ code: 'UNSAFE_ENTRY' }));
  },
);

test('empty names, NULs and names beyond PATH_MAX are refused', () => {
  expect(() => parseEntryPath('')).toThrow(expect.objectContaining({ code: 'INVALID_TAR' }));
  expect(() => parseEntryPath('a\0b')).toThrow(expect.objectContaining({ code: 'INVALID_TAR' }));
  expect(() => parseEntryPath('a/'.repeat(2048))).toThrow(
    expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
  );
});

test('no name that is accepted has a component that could move up or stay', () => {
  const part = fc.constantFrom('a', '.', '..', '', '...', '.wh.', 'b');
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 12 }), (parts) => {
      try {
        for (const component of parseEntryPath(parts.join('/'))) {
          expect(component).not.toMatch(/^\.{0,2}$|\//);
        }
      } catch (error) {
        expect(['UNSAFE_ENTRY', 'INVALID_TAR']).toContain((error as { code: string }).code);
      }
    }),
  );
});

test.each([
  ['file', undefined],
  ['.whatever', undefined],
  ['.wh', undefined],
  ['.wh.file', { kind: 'whiteout', name: 'file' }],
  ['.wh..hidden', { kind: 'whiteout', name: '.hidden' }],
  ['.wh....', { kind: 'whiteout', name: '...' }],
  ['.wh..wh..opq', { kind: 'opaque' }],
  ['.wh..wh.aufs', { kind: 'ignored' }],
  ['.wh..wh.plnk', { kind: 'ignored' }],
  ['.wh..wh.', { kind: 'ignored' }],
])('%s in a layer means %j', (base, meaning) => {
  expect(parseWhiteout(base)).toEqual(meaning);
});

test.each(['.wh.', '.wh..', '.wh...'])('%s hides nothing that could exist and is refused', (base) => {
  expect(() => parseWhiteout(base)).toThrow(expect.objectContaining({ code: 'UNSAFE_ENTRY' }));
});
