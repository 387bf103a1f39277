/** DNS messages: what is read of a query, also of a hostile one, and what an answer looks like. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decodeQuery, DNS_CODE, DNS_TYPE, encodeAnswer, reverseAddress } from '../../src/dns/message.ts';
import { DnsDecodeError } from '../../src/errors.ts';

const HEADER = '1234 0100 0001 0000 0000 0000';
const WEB_A = '03 776562 00 0001 0001';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('a DNS query', () => {
  it('has a name in lower case, a type and a class', () => {
    expect(decodeQuery(hex(`${HEADER} 03 576542 00 001c 0001`))).toMatchObject({
      id: 0x1234,
      opcode: 0,
      recursionDesired: true,
      name: 'web',
      type: DNS_TYPE.AAAA,
      class: 1,
      udpSizeBytes: 512,
      edns: false,
    });
  });

  it('says by EDNS how large an answer may be, never less than 512 bytes', () => {
    const withOption = (size: string) =>
      decodeQuery(hex(`1234 0100 0001 0000 0000 0001 ${WEB_A} 00 0029 ${size} 00000000 0000`));
    expect(withOption('1000')).toMatchObject({ edns: true, udpSizeBytes: 4096 });
    expect(withOption('0001')).toMatchObject({ edns: true, udpSizeBytes: 512 });
  });

  it('keeps a dot inside of a label apart from the border of two', () => {
    expect(decodeQuery(hex(`${HEADER} 03 612e62 00 0001 0001`)).name).toBe('a\\046b');
  });

  it.each([
    ['nothing', ''],
    ['half a header', '1234 0100'],
    ['a response', `1234 8100 0001 0000 0000 0000 ${WEB_A}`],
    ['no question', '1234 0100 0000 0000 0000 0000'],
    ['two questions', `1234 0100 0002 0000 0000 0000 ${WEB_A} ${WEB_A}`],
    ['a name that points at itself', `${HEADER} c00c 0001 0001`],
    ['a name that points behind the end', `${HEADER} ffff 0001 0001`],
    ['a label that ends too early', `${HEADER} 3f 61`],
    ['a name without an end', `${HEADER} 01 61`],
    ['a name of more than 255 bytes', `${HEADER} ${`3f ${'61'.repeat(63)}`.repeat(4)} 00 0001 0001`],
    ['a question without a type', `${HEADER} 01 61 00`],
  ])('is refused when it is %s', (_what, text) => {
    expect(() => decodeQuery(hex(text))).toThrow(DnsDecodeError);
  });

  it('of any bytes is either read or refused, and never anything else', () => {
    const likely = fc
      .tuple(fc.constant(hex(HEADER)), fc.uint8Array({ maxLength: 300 }))
      .map((parts) => Buffer.concat(parts));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), likely), (bytes) => {
        try {
          const query = decodeQuery(bytes);
          expect(decodeQuery(Buffer.concat([bytes.subarray(0, 12), query.question])).name).toBe(query.name);
        } catch (error) {
          expect(error).toBeInstanceOf(DnsDecodeError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a DNS answer', () => {
  const query = decodeQuery(hex(`${HEADER} ${WEB_A}`));

  it('repeats the question and points its records at it', () => {
    const answer = encodeAnswer(query, {
      records: [{ type: DNS_TYPE.A, ttlSeconds: 600, address: '10.0.0.2' }],
    });
    expect(Buffer.from(answer).toString('hex')).toBe(
      `1234 8180 0001 0001 0000 0000 ${WEB_A} c00c 0001 0001 00000258 0004 0a000002`.replaceAll(' ', ''),
    );
  });

  it('of a name that nobody has is NXDOMAIN without a record', () => {
    const answer = encodeAnswer(query, { code: DNS_CODE.NXDOMAIN });
    expect(Buffer.from(answer).toString('hex')).toBe(
      `1234 8183 0001 0000 0000 0000 ${WEB_A}`.replaceAll(' ', ''),
    );
  });

  it('that does not fit is cut between records, and says so', () => {
    const records = Array.from({ length: 100 }, (_, i) => ({
      type: DNS_TYPE.A,
      ttlSeconds: 0,
      address: `10.0.0.${i}`,
    }));
    const answer = Buffer.from(encodeAnswer(query, { records }, 512));
    expect(answer.length).toBeLessThanOrEqual(512);
    expect(answer.readUInt16BE(2) & 0x0200).toBe(0x0200);
    expect(answer.length).toBe(12 + query.question.length + 16 * answer.readUInt16BE(6));
  });

  it('to a client with EDNS has an option, too', () => {
    const asked = decodeQuery(hex(`1234 0100 0001 0000 0000 0001 ${WEB_A} 00 0029 1000 00000000 0000`));
    const answer = Buffer.from(encodeAnswer(asked, {}));
    expect(answer.readUInt16BE(10)).toBe(1);
    expect(answer.subarray(-11).toString('hex')).toBe('00002904d0000000000000');
  });
});

describe('a reverse name', () => {
  it('stands for an address', () => {
    expect(reverseAddress('2.0.17.172.in-addr.arpa')).toBe('172.17.0.2');
    expect(reverseAddress(`2.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`)).toBe('fd00::2');
  });

  it('of anything else stands for none', () => {
    expect(reverseAddress('2.0.17.in-addr.arpa')).toBeUndefined();
    expect(reverseAddress('256.0.17.172.in-addr.arpa')).toBeUndefined();
    expect(reverseAddress('web')).toBeUndefined();
  });
});
