/** Attributes: what the writer lays out, and what the reader makes of bytes it cannot trust. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Attributes, AttributeWriter, NetlinkDecodeError } from '../../src/netlink/index.ts';

describe('netlink attributes', () => {
  it('are length, type and value, padded to four bytes', () => {
    const bytes = new AttributeWriter().u8(1, 7).string(3, 'eth0').u32(4, 1500).finish();
    expect(bytes.toString('hex')).toBe(
      ['05000100 07000000', '09000300 65746830 00000000', '08000400 dc050000'].join('').replaceAll(' ', ''),
    );
  });

  it('nest, with a length that covers what is inside and a flag in the type', () => {
    const bytes = new AttributeWriter()
      .nested(18, (info) => info.string(1, 'veth').nested(2, () => undefined))
      .finish();
    expect(bytes.toString('hex')).toBe(
      ['14001280', '09000100 76657468 00000000', '04000280'].join('').replaceAll(' ', ''),
    );
  });

  it('are big endian where nf_tables and conntrack want them so', () => {
    const bytes = new AttributeWriter().be32(1, -3).be16(2, 0x1f90).be64(3, 1n).finish();
    expect(bytes.toString('hex')).toBe(
      ['08000100 fffffffd', '06000200 1f900000', '0c000300 00000000 00000001'].join('').replaceAll(' ', ''),
    );
  });

  it("grow past the writer's first buffer without losing a byte", () => {
    const values = Array.from({ length: 200 }, (_, i) => i);
    const writer = new AttributeWriter(16);
    for (const value of values) writer.nested(value, (inner) => inner.u32(1, value));
    const read = Attributes.decode(writer.finish());
    expect(read.list().map(({ type, value }) => [type, Attributes.decode(value).u32(1)])).toEqual(
      values.map((value) => [value, value]),
    );
  });

  it('refuse a value that is longer than sixteen bits can say', () => {
    expect(() => new AttributeWriter().bytes(1, new Uint8Array(65_532))).toThrow(RangeError);
    const nested = () => new AttributeWriter().nested(1, (inner) => inner.bytes(2, new Uint8Array(65_531)));
    expect(nested).toThrow(RangeError);
  });

  it('come back as they were written', () => {
    const attribute = fc.record({
      type: fc.integer({ min: 0, max: 0x3fff }),
      value: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(fc.array(attribute, { maxLength: 20 }), (attributes) => {
        const writer = new AttributeWriter(4);
        for (const { type, value } of attributes) writer.bytes(type, value);
        const read = Attributes.decode(writer.finish()).list();
        expect(read.map(({ type, value }) => ({ type, value: Uint8Array.from(value) }))).toEqual(attributes);
      }),
    );
  });

  it('of any bytes at all are read, or refused with a decode error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        try {
          const attributes = Attributes.decode(bytes);
          for (const { type } of attributes.list()) {
            for (const read of ['u8', 'u16', 'u32', 'be16', 'be32', 'be64', 'string', 'nested'] as const) {
              attributes[read](type);
            }
          }
        } catch (error) {
          expect(error).toBeInstanceOf(NetlinkDecodeError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('that are absent read as undefined, and text ends at its first NUL', () => {
    const attributes = Attributes.decode(
      new AttributeWriter().bytes(1, Buffer.from('ab\0cd')).flag(2).finish(),
    );
    expect(attributes.string(1)).toBe('ab');
    expect(attributes.has(2)).toBe(true);
    expect(attributes.u32(9)).toBeUndefined();
    expect(attributes.nested(9).list()).toEqual([]);
    expect(() => attributes.u32(2)).toThrow(NetlinkDecodeError);
  });
});
