import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { parseDuration, parseMoment } from '../../../src/cli/values/duration.ts';
import { parseCpus, parseSize, parseSwapSize } from '../../../src/cli/values/size.ts';

describe('sizes', () => {
  it.for([
    ['0', 0],
    ['512', 512],
    ['1b', 1],
    ['64m', 67_108_864],
    ['64MB', 67_108_864],
    ['1.5GiB', 1_610_612_736],
    ['1 k', 1024],
    ['.5m', 524_288],
    ['2t', 2_199_023_255_552],
  ] as const)('reads %s', ([text, bytes]) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.for(['', 'x', '-1', '1x', '1bb', '1kk', '1.2.3', 'm', '1 2', '0x10'])('refuses %s', (text) => {
    expect(() => parseSize(text)).toThrow(UsageError);
  });

  it('takes -1 as no limit for swap only', () => {
    expect(parseSwapSize('-1')).toBe(-1);
    expect(() => parseSize('-1')).toThrow(UsageError);
  });

  it('multiplies by powers of 1024', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.constantFrom('', 'k', 'm', 'g'), (count, suffix) => {
        expect(parseSize(`${count}${suffix}`)).toBe(count * 1024 ** ['', 'k', 'm', 'g'].indexOf(suffix));
      }),
    );
  });
});

describe('cpus', () => {
  it.for([
    ['1', 1e9],
    ['0.5', 5e8],
    ['.25', 25e7],
    ['2.', 2e9],
    ['0.000000001', 1],
    ['1.1000000000', 11e8],
  ] as const)('reads %s', ([text, nanos]) => {
    expect(parseCpus(text)).toBe(nanos);
  });

  it.for(['', '.', 'a', '1,5', '0.0000000001'])('refuses %s', (text) => {
    expect(() => parseCpus(text)).toThrow(UsageError);
  });
});

describe('durations', () => {
  it.for([
    ['0', 0n],
    ['1s', 1_000_000_000n],
    ['1m30s', 90_000_000_000n],
    ['1h1m1.5s', 3_661_500_000_000n],
    ['100ms', 100_000_000n],
    ['1.5µs', 1500n],
    ['.5s', 500_000_000n],
    ['-2s', -2_000_000_000n],
  ] as const)('reads %s', ([text, nanos]) => {
    expect(parseDuration(text)).toBe(nanos);
  });

  it.for([
    ['', 'time: invalid duration ""'],
    ['5', 'time: missing unit in duration "5"'],
    ['5q', 'time: unknown unit "q" in duration "5q"'],
    ['s', 'time: invalid duration "s"'],
    ['1s2', 'time: missing unit in duration "1s2"'],
  ] as const)('refuses %s', ([text, message]) => {
    expect(() => parseDuration(text)).toThrow(message);
  });

  it('adds up its parts', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.nat(59), fc.nat(59), (hours, minutes, seconds) => {
        const total = BigInt(hours * 3600 + minutes * 60 + seconds) * 1_000_000_000n;
        expect(parseDuration(`${hours}h${minutes}m${seconds}s`)).toBe(total);
      }),
    );
  });
});

describe('moments', () => {
  const now = Date.UTC(2026, 10, 23, 20, 56, 45);

  it.for([
    ['10m', '1795466805'],
    ['1234.5', '1234.5'],
    ['2026-01-02T03:04:05Z', '1767323045.000000000'],
    ['2026-01-02T03:04:05.25+01:00', '1767319445.250000000'],
  ] as const)('reads %s', ([text, expected]) => {
    expect(parseMoment(text, now)).toBe(expected);
  });

  it.for(['', 'yesterday', '2026-13-01'])('refuses %s', (text) => {
    expect(() => parseMoment(text, now)).toThrow(UsageError);
  });
});
