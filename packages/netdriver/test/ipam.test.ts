/** Which subnet a network gets, and which address an endpoint. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { formatRange, parseCidr, type AddressRange } from '../src/address-range.ts';
import { AddressAllocator, chooseSubnet, DEFAULT_POOLS } from '../src/ipam.ts';

const subnet = (text: string): AddressRange => parseCidr(text).range;
const allocator = (text: string, more?: { gateway?: string; ipRange?: string }): AddressAllocator =>
  new AddressAllocator({ subnet: subnet(text), ...more });

describe('the default pools', () => {
  it("hold Docker's 31 subnets, in its order", () => {
    const taken: AddressRange[] = [];
    for (let i = 0; i < 31; i++) taken.push(chooseSubnet(DEFAULT_POOLS, taken));
    const names = taken.map(formatRange);
    expect(names.slice(0, 2)).toEqual(['172.17.0.0/16', '172.18.0.0/16']);
    expect(names.slice(14, 17)).toEqual(['172.31.0.0/16', '192.168.0.0/20', '192.168.16.0/20']);
    expect(names.at(-1)).toBe('192.168.240.0/20');
    expect(() => chooseSubnet(DEFAULT_POOLS, taken)).toThrow(
      expect.objectContaining({ code: 'POOL_EXHAUSTED' }),
    );
  });

  it('avoid every subnet that a route of the host touches', () => {
    const taken = [subnet('172.16.0.0/12'), subnet('192.168.1.0/24'), subnet('192.168.16.7/32')];
    expect(formatRange(chooseSubnet(DEFAULT_POOLS, taken))).toBe('192.168.32.0/20');
  });
});

describe('the addresses of a network', () => {
  it('begin after the gateway, lowest first, and leave out network and broadcast address', () => {
    const addresses = allocator('10.0.0.0/29');
    expect(Array.from({ length: 5 }, () => addresses.allocate())).toEqual([
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
    ]);
    expect(() => addresses.allocate()).toThrow(expect.objectContaining({ code: 'NO_FREE_ADDRESS' }));
  });

  it('are not given out again at once while another is free, but then are, the longest free first', () => {
    const addresses = allocator('10.0.0.0/29');
    const first = addresses.allocate();
    const second = addresses.allocate();
    addresses.release(second);
    addresses.release(first);
    expect(Array.from({ length: 5 }, () => addresses.allocate())).toEqual([
      '10.0.0.4',
      '10.0.0.5',
      '10.0.0.6',
      second,
      first,
    ]);
  });

  it('stay near the bottom of a large subnet, however many come and go', () => {
    const addresses = allocator('10.0.0.0/8');
    let highest = '';
    for (let i = 0; i < 1000; i++) {
      highest = addresses.allocate();
      addresses.release(highest);
    }
    expect(Number(highest.split('.')[3])).toBeLessThan(70);
    expect(highest.startsWith('10.0.0.')).toBe(true);
  });

  it('may be asked for one by one, anywhere in the subnet', () => {
    const addresses = allocator('10.0.0.0/24', { ipRange: '10.0.0.128/25' });
    expect(addresses.allocate('10.0.0.7')).toBe('10.0.0.7');
    expect(() => addresses.allocate('10.0.0.7')).toThrow(expect.objectContaining({ code: 'ADDRESS_IN_USE' }));
    for (const wrong of ['10.0.0.0', '10.0.0.255', '10.0.1.7', 'fd00::7', 'seven']) {
      expect(() => addresses.allocate(wrong), wrong).toThrow(
        expect.objectContaining({ code: 'INVALID_CONFIG' }),
      );
    }
    expect(() => addresses.allocate('10.0.0.1')).toThrow(expect.objectContaining({ code: 'ADDRESS_IN_USE' }));
  });

  it('are chosen from the range alone', () => {
    const addresses = allocator('10.0.0.0/24', { ipRange: '10.0.0.252/30', gateway: '10.0.0.253' });
    expect([addresses.allocate(), addresses.allocate()]).toEqual(['10.0.0.252', '10.0.0.254']);
    expect(() => addresses.allocate()).toThrow(expect.objectContaining({ code: 'NO_FREE_ADDRESS' }));
  });

  it('are both usable in a subnet of two (RFC 3021)', () => {
    const addresses = allocator('10.0.0.0/31');
    expect(addresses.allocate()).toBe('10.0.0.1');
  });

  it('are not to be had from a subnet of one, or with a gateway or a range outside of it', () => {
    const invalid = expect.objectContaining({ code: 'INVALID_CONFIG' });
    expect(() => allocator('10.0.0.1/32')).toThrow(invalid);
    expect(() => allocator('10.0.0.0/24', { gateway: '10.0.1.1' })).toThrow(invalid);
    expect(() => allocator('10.0.0.0/24', { gateway: '10.0.0.255' })).toThrow(invalid);
    expect(() => allocator('10.0.0.0/24', { gateway: 'first' })).toThrow(invalid);
    expect(() => allocator('10.0.0.0/24', { ipRange: '10.0.0.0/23' })).toThrow(invalid);
  });

  it('are as many in IPv6', () => {
    const addresses = allocator('fd00::/64');
    expect(addresses.allocate()).toBe('fd00::2');
    expect(addresses.allocate('fd00::ffff')).toBe('fd00::ffff');
  });

  it("are never given to two, and never the gateway's, whatever the order", () => {
    const step = fc.oneof(
      fc.constant({ do: 'allocate' as const }),
      fc.record({ do: fc.constant('release' as const), which: fc.nat(20) }),
      fc.record({ do: fc.constant('fixed' as const), host: fc.integer({ min: 0, max: 15 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const addresses = allocator('10.0.0.0/28');
        const held: string[] = [];
        for (const action of steps) {
          if (action.do === 'release') {
            const [released] = held.splice(action.which, 1);
            if (released) addresses.release(released);
            continue;
          }
          const fixed = action.do === 'fixed' ? `10.0.0.${action.host}` : undefined;
          try {
            const address = addresses.allocate(fixed);
            expect(held).not.toContain(address);
            expect(['10.0.0.0', '10.0.0.1', '10.0.0.15']).not.toContain(address);
            held.push(address);
          } catch (error) {
            // a free address is always found
            if (fixed === undefined) expect(held.length).toBe(13);
            else expect((error as { code?: string }).code).toMatch(/^(ADDRESS_IN_USE|INVALID_CONFIG)$/);
          }
        }
        expect(addresses.size).toBe(held.length);
      }),
    );
  });
});
