/** Blocks of addresses. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  contains,
  formatAddress,
  formatRange,
  overlaps,
  parseAddress,
  parseCidr,
  rangeAround,
  split,
} from '../src/address-range.ts';

const ipv4 = fc.ipV4();
const ipv6 = fc.ipV6();

describe('address ranges', () => {
  it('are read and written', () => {
    const { address, range } = parseCidr('172.17.3.4/16');
    expect(formatAddress(4, address)).toBe('172.17.3.4');
    expect(formatRange(range)).toBe('172.17.0.0/16');
    expect(formatAddress(4, range.last)).toBe('172.17.255.255');
    expect(formatRange(parseCidr('fd00:1:2::9/64').range)).toBe('fd00:1:2::/64');
    expect(formatRange(parseCidr('0.0.0.0/0').range)).toBe('0.0.0.0/0');
    expect(formatAddress(4, parseCidr('0.0.0.0/0').range.last)).toBe('255.255.255.255');
  });

  it('are refused when they are none', () => {
    for (const text of [
      '',
      '10.0.0.0',
      '10.0.0.0/',
      '10.0.0.0/33',
      '10.0.0/8',
      'fd00::/129',
      '10.0.0.0/-1',
      'a/8',
      '::1%lo/64',
      '10.0.0.0/8/8',
    ]) {
      expect(() => parseCidr(text), text).toThrow(RangeError);
    }
  });

  it('come back as the addresses they were', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (text) => {
        const { family, value } = parseAddress(text);
        expect(parseAddress(formatAddress(family, value))).toEqual({ family, value });
      }),
    );
  });

  it('hold the addresses with the same prefix and no others', () => {
    fc.assert(
      fc.property(ipv4, fc.integer({ min: 0, max: 32 }), (text, prefixLength) => {
        const { value } = parseAddress(text);
        const range = rangeAround(4, value, prefixLength);
        expect(range.first <= value && value <= range.last).toBe(true);
        expect(range.last - range.first).toBe((1n << BigInt(32 - prefixLength)) - 1n);
        expect(range.first >> BigInt(32 - prefixLength)).toBe(range.last >> BigInt(32 - prefixLength));
      }),
    );
  });

  it('overlap exactly when one holds the other', () => {
    const range = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 24, max: 32 }))
      .map(([host, prefix]) => rangeAround(4, parseAddress(`10.0.0.${host}`).value, prefix));
    fc.assert(
      fc.property(range, range, (a, b) => {
        expect(overlaps(a, b)).toBe(contains(a, b) || contains(b, a));
        expect(overlaps(a, b)).toBe(overlaps(b, a));
      }),
    );
    expect(overlaps(parseCidr('::/0').range, parseCidr('0.0.0.0/0').range)).toBe(false);
  });

  it('are cut into blocks that cover them', () => {
    expect([...split(parseCidr('192.168.0.0/18').range, 20)].map(formatRange)).toEqual([
      '192.168.0.0/20',
      '192.168.16.0/20',
      '192.168.32.0/20',
      '192.168.48.0/20',
    ]);
  });
});
