import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatTime,
  formatTimePadded,
  nowNs,
  parseDuration,
  parseTimestamp,
  ZERO_TIME,
} from '../src/time.ts';

describe('formatTime', () => {
  it('trims trailing zeros, as RFC3339Nano does', () => {
    expect(formatTime(1_700_000_000_120_000_000n)).toBe('2023-11-14T22:13:20.12Z');
    expect(formatTime(1_700_000_000_000_000_000n)).toBe('2023-11-14T22:13:20Z');
    expect(formatTime(1_700_000_000_000_000_007n)).toBe('2023-11-14T22:13:20.000000007Z');
    expect(formatTimePadded(1_700_000_000_120_000_000n)).toBe('2023-11-14T22:13:20.120000000Z');
  });

  it("prints Go's zero time for never", () => {
    expect(formatTime(undefined)).toBe(ZERO_TIME);
  });

  it('is read back by parseTimestamp to the nanosecond', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 18n), max: 4n * 10n ** 18n }), (ns) => {
        expect(parseTimestamp(formatTime(ns))).toBe(ns);
      }),
    );
  });
});

describe('nowNs', () => {
  it('never repeats and never goes back', () => {
    let last = nowNs();
    for (let i = 0; i < 10_000; i += 1) {
      const now = nowNs();
      expect(now > last).toBe(true);
      last = now;
    }
  });
});

describe('parseTimestamp', () => {
  it.each([
    ['1795467140', 1_795_467_140_000_000_000n],
    ['1795467140.5', 1_795_467_140_500_000_000n],
    ['1795467140.000000001', 1_795_467_140_000_000_001n],
    ['-1.5', -1_500_000_000n],
    ['2023-11-14T22:13:20.12Z', 1_700_000_000_120_000_000n],
    ['2023-11-14T23:13:20+01:00', 1_700_000_000_000_000_000n],
    ['2023-11-14', 1_699_920_000_000_000_000n],
    ['2023-11-14T22:13', 1_699_999_980_000_000_000n],
    ['10m', -600_000_000_000n],
  ])('reads %s', (text, expected) => {
    expect(parseTimestamp(text, 0n)).toBe(expected);
  });

  it.each(['yesterday', '2023-13-40', '', '1.', '10 m', 'NaN'])('refuses %j', (text) => {
    expect(parseTimestamp(text)).toBeUndefined();
  });
});

describe('parseDuration', () => {
  it.each([
    ['1h15m30.918s', 4_530_918_000_000n],
    ['-1.5h', -5_400_000_000_000n],
    ['100ms', 100_000_000n],
    ['0', 0n],
  ])('reads %s', (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });
});
