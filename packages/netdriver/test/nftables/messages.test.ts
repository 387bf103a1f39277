/** Requests of nf_tables, byte for byte, and the decoders on bytes they cannot trust. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  decodeMessages,
  encodeMessage,
  NetlinkDecodeError,
  type NetlinkRequest,
} from '../../src/netlink/index.ts';
import {
  addChain,
  addRule,
  addSet,
  addTable,
  changeElements,
  compare,
  compareElements,
  ct,
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  deleteTable,
  destinationNat,
  destinationType,
  FIELD,
  getGeneration,
  HOOK,
  hostOrder,
  ifnameBytes,
  lookup,
  mask,
  masquerade,
  meta,
  NFPROTO,
  payload,
  portBytes,
  PRIORITY,
  REGISTER,
  TABLE_FLAG,
  verdict,
  type Expression,
} from '../../src/nftables/index.ts';

const table = { family: NFPROTO.INET, name: 'tare' };
/** nfgenmsg and the table's name as attribute 1, as they begin nearly every body. */
const TABLE = '01000000 0900 0100 7461726500000000';

function bytes(text: string): string {
  return text.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, '');
}

function encoded(request: NetlinkRequest): string {
  return encodeMessage(request, 1).toString('hex');
}

describe('nf_tables objects', () => {
  it('are tables with their flags', () => {
    expect(encoded(addTable(table, TABLE_FLAG.OWNER | TABLE_FLAG.PERSIST))).toBe(
      bytes(`28000000 000a 0004 01000000 00000000 ${TABLE} 0800 0200 00000006`),
    );
    expect(encoded(deleteTable(table))).toBe(bytes(`20000000 020a 0000 01000000 00000000 ${TABLE}`));
  });

  it('are chains, with a hook and without', () => {
    const hook = { type: 'nat', number: HOOK.PREROUTING, priority: PRIORITY.DSTNAT } as const;
    expect(encoded(addChain(table, { name: 'pre', hook }))).toBe(
      bytes(`4c000000 030a 0004 01000000 00000000 ${TABLE}
             0800 0300 70726500                    # NAME
             1400 0480                             # HOOK
               0800 0100 00000000                  #   NUM prerouting
               0800 0200 ffffff9c                  #   PRIORITY -100
             0800 0500 00000001                    # POLICY accept
             0800 0700 6e617400                    # TYPE nat`),
    );
    expect(encoded(addChain(table, { name: 'dnat' }))).toBe(
      bytes(`2c000000 030a 0004 01000000 00000000 ${TABLE} 0900 0300 646e617400000000`),
    );
  });

  it('are sets, whose concatenated fields take whole registers', () => {
    const key = [FIELD.IPV4, FIELD.PROTOCOL, FIELD.PORT];
    expect(encoded(addSet(table, { name: 'pub', key, data: [FIELD.IPV4, FIELD.PORT] }, 5))).toBe(
      bytes(`94000000 090a 0004 01000000 00000000 ${TABLE}
             0800 0200 70756200                    # NAME
             0800 0300 00000088                    # FLAGS map, concat
             0800 0400 0000730d                    # KEY_TYPE: 7, 12, 13 in six bits each
             0800 0500 0000000c                    # KEY_LEN
             0800 0a00 00000005                    # ID
             0800 0600 000001cd                    # DATA_TYPE: 7, 13
             0800 0700 00000008                    # DATA_LEN
             2c00 0980                             # DESC
               2800 0280                           #   CONCAT
                 0c00 0180 0800 0100 00000004      #     4 bytes
                 0c00 0180 0800 0100 00000001      #     1 byte
                 0c00 0180 0800 0100 00000002      #     2 bytes
             1000 0d00 000402000000 010402000000   # USERDATA: network order
      `),
    );
    expect(encoded(addSet(table, { name: 'br', key: [FIELD.IFNAME] }, 1))).toBe(
      bytes(`54000000 090a 0004 01000000 00000000 ${TABLE}
             0700 0200 62720000
             0800 0300 00000000
             0800 0400 00000029
             0800 0500 00000010
             0800 0a00 00000001
             0a00 0d00 0004010000000000            # USERDATA: host order`),
    );
  });

  it('are elements, with data, a verdict or a comment', () => {
    const [element] = changeElements(table, 'pub', 'add', [
      {
        key: [Uint8Array.of(6), portBytes(8080)],
        data: [Uint8Array.of(172, 17, 0, 2), portBytes(80)],
        comment: 'c1',
      },
    ]);
    expect(encoded(element!)).toBe(
      bytes(`5c000000 0c0a 0004 01000000 00000000 ${TABLE}
             0800 0200 70756200                    # SET
             3400 0380                             # ELEMENTS
               3000 0180
                 1000 0180                         #   KEY
                   0c00 0100 06000000 1f900000     #     tcp . 8080
                 1000 0280                         #   DATA
                   0c00 0100 ac110002 00500000     #     172.17.0.2 . 80
                 0900 0600 0003 633100 000000      #   USERDATA: comment
      `),
    );
    const [pair] = changeElements(table, 'map', 'add', [
      { key: [ifnameBytes('br0')], data: { code: 'goto', chain: 'into' } },
    ]);
    expect(encoded(pair!)).toContain(
      bytes(`1c00 0280 1800 0280 0800 0100 fffffffc 0900 0200 696e746f00000000`),
    );
    const [gone] = changeElements(table, 'pub', 'delete', [{ key: [portBytes(80)], comment: 'c1' }]);
    expect(encoded(gone!)).toBe(
      bytes(`3c000000 0e0a 0000 01000000 00000000 ${TABLE} 0800 0200 70756200
             1400 0380 1000 0180 0c00 0180 0600 0100 00500000`),
    );
  });

  it('are split into messages that each hold less than 64 KiB of elements', () => {
    const elements = Array.from({ length: 5000 }, (_, i) => ({ key: [ifnameBytes(`veth${i}`)] }));
    const requests = changeElements(table, 'br', 'add', elements);
    expect(requests.length).toBeGreaterThan(1);
    let count = 0;
    for (const request of requests) {
      expect(request.payload.length).toBeLessThan(65_536);
      const [message] = decodeMessages(encodeMessage(request, 1));
      count += Buffer.from(message!.payload).toString('latin1').split('veth').length - 1;
    }
    expect(count).toBe(5000);
    expect(changeElements(table, 'br', 'add', [])).toEqual([]);
  });

  it('ask for the generation without a body', () => {
    expect(encoded(getGeneration())).toBe(bytes(`14000000 100a 0000 01000000 00000000 00000000`));
  });
});

describe('rule expressions', () => {
  /** The bytes of one expression, without the message around it. */
  function expression(value: Expression): string {
    const rule = encoded(addRule(table, 'c', [value]));
    const list = bytes(`01000000 0900 0100 7461726500000000 0600 0200 63000000`);
    // past the header of the list
    return rule.slice(rule.indexOf(list) + list.length + 8);
  }

  const cases: [name: string, Expression, string][] = [
    [
      'load the destination address',
      payload('network', 16, 4),
      `3400 0180 0c00 0100 7061796c6f616400
       2400 0280 0800 0100 00000008 0800 0200 00000001 0800 0300 00000010 0800 0400 00000004`,
    ],
    [
      'load an interface name',
      meta('oifname', REGISTER + 4),
      `2400 0180 0900 0100 6d65746100000000 1400 0280 0800 0200 00000007 0800 0100 0000000c`,
    ],
    [
      'load the status of a connection',
      ct('status'),
      `2000 0180 0700 0100 63740000 1400 0280 0800 0200 00000002 0800 0100 00000008`,
    ],
    [
      'compare',
      compare('neq', hostOrder(0x20)),
      `2c00 0180 0800 0100 636d7000
       2000 0280 0800 0100 00000008 0800 0200 00000001 0c00 0380 0800 0100 20000000`,
    ],
    [
      'mask',
      mask(Uint8Array.of(255, 0, 0, 0)),
      `4c00 0180 0c00 0100 6269747769736500
       3c00 0280 0800 0100 00000008 0800 0200 00000008 0800 0300 00000004 0800 0600 00000000
         0c00 0480 0800 0100 ff000000 0c00 0580 0800 0100 00000000`,
    ],
    [
      'look up in a set',
      lookup('open'),
      `2800 0180 0b00 0100 6c6f6f6b75700000
       1800 0280 0900 0100 6f70656e00000000 0800 0200 00000008`,
    ],
    [
      'look up a verdict',
      lookup('open', 'verdict'),
      `3000 0180 0b00 0100 6c6f6f6b75700000
       2000 0280 0900 0100 6f70656e00000000 0800 0200 00000008 0800 0300 00000000`,
    ],
    [
      'ask the routing table for the type of the destination',
      destinationType(),
      `2800 0180 0800 0100 66696200
       1c00 0280 0800 0100 00000008 0800 0200 00000003 0800 0300 00000002`,
    ],
    [
      'translate the destination',
      destinationNat(NFPROTO.IPV4, 8, 9),
      `3000 0180 0800 0100 6e617400
       2400 0280 0800 0100 00000001 0800 0200 00000002 0800 0300 00000008 0800 0500 00000009`,
    ],
    ['masquerade', masquerade(), `1400 0180 0900 0100 6d61737100000000 0400 0280`],
    [
      'drop',
      verdict({ code: 'drop' }),
      `3000 0180 0e00 0100 696d6d65646961746500 0000
       1c00 0280 0800 0100 00000000 1000 0280 0c00 0280 0800 0100 00000000`,
    ],
  ];
  for (const [name, value, expected] of cases) {
    it(`${name}`, () => expect(expression(value)).toBe(bytes(expected)));
  }

  it('carry the comment of their rule as nft shows it', () => {
    expect(encoded(addRule(table, 'c', [], 'why'))).toContain(bytes(`0a00 0700 00 04 77687900 0000`));
  });
});

describe('listings', () => {
  const decoders = [decodeTable, decodeChain, decodeSet, decodeRule, decodeElements, decodeGeneration];

  it('of any bytes at all are understood, or refused with a decode error', () => {
    const number = fc.constantFrom(0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15);
    fc.assert(
      fc.property(number, fc.uint8Array({ maxLength: 300 }), (number, payload) => {
        const message = { type: (10 << 8) | number, flags: 0, sequence: 1, portId: 0, payload };
        for (const decode of decoders) {
          try {
            decode(message);
          } catch (error) {
            expect(error).toBeInstanceOf(NetlinkDecodeError);
          }
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('with one damaged byte are understood, or refused with a decode error', () => {
    const [elements] = changeElements(table, 'open', 'add', [
      { key: [Uint8Array.of(6), portBytes(80)], data: { code: 'goto', chain: 'into' }, comment: 'why' },
    ]);
    const whole = encodeMessage(elements!, 1);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const damaged = Buffer.from(whole);
        damaged[at] = value;
        try {
          for (const message of decodeMessages(damaged)) for (const decode of decoders) decode(message);
        } catch (error) {
          expect(error).toBeInstanceOf(NetlinkDecodeError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('make what is there what should be there', () => {
    const key = fc.integer({ min: 0, max: 20 });
    const content = fc.dictionary(key.map(String), fc.nat(3), { maxKeys: 12 });
    fc.assert(
      fc.property(content, content, (should, is) => {
        const encoded = ([port, data]: [string, number]) => ({
          key: portBytes(Number(port)),
          data: Uint8Array.of(data),
        });
        const present = Object.entries(is).map((entry) => ({ ...encoded(entry), comment: undefined }));
        const { missing, surplus } = compareElements(Object.entries(should), present, encoded);
        const result = new Map(Object.entries(is));
        for (const key of surplus) result.delete(String((key[0]! << 8) | key[1]!));
        for (const [port, data] of missing) {
          expect(result.has(port)).toBe(false);
          result.set(port, data);
        }
        expect(Object.fromEntries(result)).toEqual({ ...should });
      }),
    );
  });
});
