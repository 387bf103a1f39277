import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binarySize, decimalSize, ellipsis, humanDuration, shortId } from '../../../src/cli/format/units.ts';

const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

describe('sizes', () => {
  it.for([
    [0, 3, '0B'],
    [999, 3, '999B'],
    [1000, 3, '1kB'],
    [682_696, 3, '683kB'],
    [4_145_350, 3, '4.15MB'],
    [4_145_358, 4, '4.145MB'],
    [266_720_513, 3, '267MB'],
    [399_824_573, 4, '399.8MB'],
    [1_234_567_890_123, 4, '1.235TB'],
    [999_999, 3, '1e+03kB'],
  ] as const)('writes %i bytes with %i digits as %s', ([bytes, digits, text]) => {
    expect(decimalSize(bytes, digits)).toBe(text);
  });

  it.for([
    [0, '0B'],
    [1036_288, '1012KiB'],
    [67_108_864, '64MiB'],
    [25_276_510_208, '23.54GiB'],
  ] as const)('writes %i bytes in powers of 1024 as %s', ([bytes, text]) => {
    expect(binarySize(bytes)).toBe(text);
  });

  it('stays within half a unit of the last digit shown', () => {
    const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        const [, number, unit] = /^([\d.e+]+)([a-zA-Z]+)$/.exec(decimalSize(bytes))!;
        const shown = Number(number) * 1000 ** units.indexOf(unit!);
        expect(Math.abs(shown - bytes)).toBeLessThanOrEqual(bytes * 0.0005 + 1e-6);
      }),
    );
  });
});

describe('durations', () => {
  it.for([
    [0, 'Less than a second'],
    [0.9, 'Less than a second'],
    [1, '1 second'],
    [59, '59 seconds'],
    [minute, 'About a minute'],
    [119, 'About a minute'],
    [2 * minute, '2 minutes'],
    [59 * minute, '59 minutes'],
    [hour, 'About an hour'],
    [89 * minute, 'About an hour'],
    [90 * minute, '2 hours'],
    [47 * hour, '47 hours'],
    [2 * day, '2 days'],
    [13 * day, '13 days'],
    [14 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [60 * day, '2 months'],
    [729 * day, '24 months'],
    [730 * day, '2 years'],
  ] as const)('says %d seconds as "%s"', ([seconds, text]) => {
    expect(humanDuration(seconds)).toBe(text);
  });
});

describe('ellipsis', () => {
  it('cuts to the width and says so', () => {
    expect(ellipsis("sh -c 'while :; do echo tick; sleep 1; done'", 20)).toBe("sh -c 'while :; do …");
  });

  it('leaves alone what fits', () => {
    expect(ellipsis('a'.repeat(20), 20)).toBe('a'.repeat(20));
  });

  it('counts East Asian characters as two columns', () => {
    expect(ellipsis('漢字漢字', 8)).toBe('漢字漢字');
    expect(ellipsis('漢字漢字', 6)).toBe('漢字…');
  });
});

it('shortens an id to twelve characters, without its algorithm', () => {
  expect(shortId('sha256:c93091cdb3f66d42c56614aad1641daa')).toBe('c93091cdb3f6');
  expect(shortId('61c37758b0f117bff85a')).toBe('61c37758b0f1');
});
