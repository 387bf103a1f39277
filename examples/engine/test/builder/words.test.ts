import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expandWord, splitWords, WordError } from '../../src/builder/dockerfile/words.ts';

const variables: Record<string, string> = {
  a: 'A',
  empty: '',
  path: '/usr/local/lib',
  version: 'v1.2.3',
  b_2: 'B',
};
const lookup = (name: string): string | undefined => variables[name];
const expand = (word: string, escape?: string): string => expandWord(word, lookup, escape ? { escape } : {});

describe('expansion', () => {
  it.each([
    ['plain', 'plain'],
    ['$a-${a}', 'A-A'],
    ['$b_2.x$none', 'B.x'],
    ['\\$a', '$a'],
    ["'$a'", '$a'],
    ['"$a b"', 'A b'],
    ['"\\"\\$a\\x"', '"$a\\x'],
    ['a\'b\'c"d"', 'abcd'],
    ['$', '$'],
    ['x$ y', 'x$ y'],
    ['${a:-x}${none:-x}${empty:-x}', 'Axx'],
    ['${a-x}${none-x}${empty-x}', 'Ax'],
    ['${a:+x}${none:+x}${empty:+x}', 'x'],
    ['${a+x}${none+x}${empty+x}', 'xx'],
    ['${none:-${a}-${none:-deep}}', 'A-deep'],
    ['${path#*/}', 'usr/local/lib'],
    ['${path##*/}', 'lib'],
    ['${path%/*}', '/usr/local'],
    ['${path%%/*}', ''],
    ['${version#v}', '1.2.3'],
    ['${version%.?}', 'v1.2'],
    ['${version/./-}', 'v1-2.3'],
    ['${version//./-}', 'v1-2-3'],
    ['${version//[.]/-}', 'v1.2.3'],
    ['${path//\\//-}', '-usr-local-lib'],
    ['$1$@', ''],
  ])('%s', (word, expected) => {
    expect(expand(word)).toBe(expected);
  });

  it('knows the other escape character, with which a backslash is a letter', () => {
    expect(expand('C:\\$a`$a', '`')).toBe('C:\\A$a');
  });

  it.each([
    ["'open", 'single-quote'],
    ['"open', 'double-quote'],
    ['${a', 'missing'],
    ['${', 'bad substitution'],
    ['${a:x}', 'unsupported modifier'],
    ['${a^}', 'unsupported modifier'],
    ['${none:?must be set}', 'none: must be set'],
    ['${empty:?}', 'empty: is not allowed to be unset'],
  ])('refuses %s', (word, message) => {
    expect(() => expand(word)).toThrow(WordError);
    expect(() => expand(word)).toThrow(message);
  });

  it('tells of variables that are not set, unless that is asked', () => {
    const unset: string[] = [];
    expandWord('$none ${other} ${third:-x} $a', lookup, { onUnset: (name) => unset.push(name) });
    expect(unset).toEqual(['none', 'other']);
  });

  it('agrees with sh on words of quotes, variables and modifiers', () => {
    const piece = fc.constantFrom(
      '$a',
      '${path}',
      '"$a b"',
      "'$a'",
      '\\$',
      '${none:-d}',
      '${a:+y}',
      '${path##*/}',
      'text',
      '${version%.*}',
    );
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), (pieces) => {
        const word = pieces.join('');
        const inShell = execFileSync('sh', ['-c', `printf %s ${word}`], { env: variables, encoding: 'utf8' });
        expect(expand(word)).toBe(inShell);
      }),
      { numRuns: 40 },
    );
  });

  it('leaves quoted text as it is, whatever is in it', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes("'")),
        (text) => {
          expect(expand(`'${text}'`)).toBe(text);
        },
      ),
    );
  });
});

describe('splitting', () => {
  it.each([
    ['a b\tc', ['a', 'b', 'c']],
    ['  a  ', ['a']],
    ['', []],
    ['a="b c" d', ['a="b c"', 'd']],
    ["a='b \" c'd e", ["a='b \" c'd", 'e']],
    ['a\\ b c', ['a\\ b', 'c']],
    ['"a\\" b" c', ['"a\\" b"', 'c']],
    ["'a\\' b", ["'a\\'", 'b']],
    ['"" x', ['""', 'x']],
  ])('%s', (text, words) => {
    expect(splitWords(text)).toEqual(words);
  });
});
