import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/cli/errors.ts';
import { flagName, list, spellOut, string, toggle } from '../../src/cli/flags.ts';

const flags = {
  all: toggle('', { short: 'a' }),
  interactive: toggle('', { short: 'i' }),
  tty: toggle('', { short: 't' }),
  noTrunc: toggle(''),
  env: list('', { short: 'e' }),
  network: string('', { alias: 'net' }),
};

describe('flags are spelled as pflag reads them', () => {
  it.for([
    [['-a'], ['--all=true', '--']],
    [['-it'], ['--interactive=true', '--tty=true', '--']],
    [
      ['-ite', 'A=1'],
      ['--interactive=true', '--tty=true', '--env=A=1', '--'],
    ],
    [['-eA=1'], ['--env=A=1', '--']],
    [['-e=A=1'], ['--env=A=1', '--']],
    [
      ['--env', '-x'],
      ['--env=-x', '--'],
    ],
    [['--env='], ['--env=', '--']],
    [['--all=false'], ['--all=false', '--']],
    [['--no-trunc'], ['--no-trunc=true', '--']],
    [
      ['--net', 'host'],
      ['--network=host', '--'],
    ],
    [
      ['x', '-a', '-'],
      ['--all=true', '--', 'x', '-'],
    ],
    [
      ['--', '-a'],
      ['--', '-a'],
    ],
  ] as const)('%j', ([argv, expected]) => {
    expect(spellOut(argv, flags, true)).toEqual(expected);
  });

  it('keeps everything from the first argument on when flags stop there', () => {
    expect(spellOut(['-a', 'image', '-a', '--', '-x'], flags, false)).toEqual([
      '--all=true',
      '--',
      'image',
      '-a',
      '--',
      '-x',
    ]);
  });

  it.for([
    [['--foo'], 'unknown flag: --foo'],
    [['-Z'], "unknown shorthand flag: 'Z' in -Z"],
    [['-aZ'], "unknown shorthand flag: 'Z' in -aZ"],
    [['--env'], 'flag needs an argument: --env'],
    [['-ae'], "flag needs an argument: 'e' in -ae"],
  ] as const)('refuses %j', ([argv, message]) => {
    expect(() => spellOut(argv, flags, true)).toThrow(new UsageError(message, { exitCode: 125 }));
  });

  it('passes any value through untouched, however it is attached', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (value) => {
        for (const argv of [['--env', value], [`--env=${value}`], ['-e', value]]) {
          expect(spellOut(argv, flags, true)).toEqual([`--env=${value}`, '--']);
        }
      }),
    );
  });
});

it('spells keys in kebab case', () => {
  expect(flagName('oomScoreAdj')).toBe('oom-score-adj');
});
