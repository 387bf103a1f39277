import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { helperPath } from '#binding';
import { OPERATIONS, PLAN_MAX_BYTES, encodePlan, formatPlan } from '../../src/plan/operations.ts';
import type { Operation, Plan } from '../../src/plan/operations.ts';

/** Bytes in hexadecimal, eight a line, as a diff can show them. */
function hex(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 8) {
    lines.push(
      Buffer.from(bytes.subarray(at, at + 8))
        .toString('hex')
        .replaceAll(/(..)(?=.)/g, '$1 '),
    );
  }
  return lines;
}

describe('the encoding of a launch plan', () => {
  it('is a header, then each operation with its length, little-endian', () => {
    const plan: Plan = [
      ['STDIO', 3, 80, 24],
      ['LOG', '/l', 1n << 40n, 5],
      ['USER', 1, 2, Uint8Array.of(7, 0, 0, 0), 1],
      ['EXEC', ['a', 'ä'], []],
    ];
    expect(hex(encodePlan(plan))).toEqual([
      // magic "TPLN", version, length, operations
      '54 50 4c 4e 02 00 00 00',
      '78 00 00 00 04 00 00 00',
      // STDIO: number, length, fields; LOG begins in the third line
      '01 01 00 00 0c 00 00 00',
      '03 00 00 00 50 00 00 00',
      '18 00 00 00 02 01 00 00',
      // a string is its length, its bytes and a NUL
      '13 00 00 00 02 00 00 00',
      '2f 6c 00 00 00 00 00 00',
      '01 00 00 05 00 00 00 04',
      // USER begins in the last byte above, EXEC four lines on
      '03 00 00 14 00 00 00 01',
      '00 00 00 02 00 00 00 04',
      '00 00 00 07 00 00 00 01',
      '00 00 00 0b 03 00 00 15',
      '00 00 00 02 00 00 00 01',
      '00 00 00 61 00 02 00 00',
      '00 c3 a4 00 00 00 00 00',
    ]);
  });

  it('refuses a string with a NUL byte', () => {
    expect(() => encodePlan([['HOSTNAME', 'a\0b']])).toThrow(
      expect.objectContaining({ code: 'INVALID_SPEC' }),
    );
  });

  it('refuses a plan of more than 1 MiB', () => {
    const argument = 'x'.repeat(PLAN_MAX_BYTES);
    expect(() => encodePlan([['EXEC', [argument], []]])).toThrow(/1048\d+ bytes and may take 1048576/);
  });

  it('is printed one operation a line', () => {
    const plan: Plan = [
      ['UMASK', 0o22],
      ['CAPABILITIES', 0xa8n, 0n, 0n],
      ['DEVICE', '/dev/null', 0o020666, 1, 3, 0, 0],
      ['SECCOMP', 0, new Uint8Array(16)],
      ['GATE'],
      ['EXEC', ['sh', '-c', 'echo "x"'], ['A=1']],
    ];
    expect(formatPlan(plan)).toBe(
      [
        'UMASK mask=022',
        'CAPABILITIES effective=0xa8 permitted=0x0 inheritable=0x0',
        'DEVICE path="/dev/null" mode=020666 major=1 minor=3 uid=0 gid=0',
        'SECCOMP flags=0x0 program=<16 bytes>',
        'GATE',
        'EXEC arguments=["sh","-c","echo \\"x\\""] environment=["A=1"]',
        '',
      ].join('\n'),
    );
  });
});

/** Any operation with fields of the right kinds. */
const operations = fc
  .constantFrom(...(Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[]).filter((name) => name !== 'EXEC'))
  .chain((name) => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((value) => !value.includes('\0'));
    const kinds = {
      // also the slots, which are bounded
      u: fc.integer({ min: 0, max: 1023 }),
      q: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      s: text,
      b: fc.uint8Array({ maxLength: 40 }),
      l: fc.array(text, { maxLength: 5 }),
    };
    const fields = [...OPERATIONS[name][1]].map(
      (kind) => kinds[kind as keyof typeof kinds] as fc.Arbitrary<unknown>,
    );
    return fc.tuple(...fields).map((values) => [name, ...values] as unknown as Operation);
  });

/** Operations in the order of their phases, with a program at the end. */
const plans = fc.array(operations, { maxLength: 12 }).map((list): Plan => {
  const phase = ([name]: Operation): number => OPERATIONS[name][0] >> 8;
  return [...list.toSorted((a, b) => phase(a) - phase(b)), ['EXEC', ['true'], []]];
});

describe.skipIf(!existsSync(helperPath()))('the helper and the encoder', () => {
  const check = (bytes: Uint8Array): { status: number | null; reason: string } => {
    const { status, stderr } = spawnSync(helperPath(), ['check-plan'], { input: bytes });
    return { status, reason: stderr.toString() };
  };

  it('have the same table of operations', () => {
    const { stdout } = spawnSync(helperPath(), ['operations'], { encoding: 'utf8' });
    const theirs = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([name, number, fields = '']) => [name, Number(number), fields.trim()]);
    const ours = Object.entries(OPERATIONS).map(([name, [number, kinds]]) => [name, number, kinds]);
    expect(theirs).toEqual(ours);
  });

  it('agree on every plan', () => {
    fc.assert(
      fc.property(plans, (plan) => {
        expect(check(encodePlan(plan))).toEqual({ status: 0, reason: '' });
      }),
      { numRuns: 60 },
    );
  });

  it('agree on what is no plan', () => {
    const bytes = (change: (copy: Buffer) => Uint8Array | void): Uint8Array => {
      const copy = Buffer.from(
        encodePlan([
          ['HOSTNAME', 'name'],
          ['EXEC', ['true'], []],
        ]),
      );
      return change(copy) ?? copy;
    };
    const cases: [reason: string, bytes: Uint8Array][] = [
      ['shorter than its header', new Uint8Array(3)],
      ['longer than 1 MiB', new Uint8Array(PLAN_MAX_BYTES + 1)],
      ['not a launch plan', bytes((copy) => void copy.writeUInt8(0, 0))],
      ['made for another version of the helper', bytes((copy) => void copy.writeUInt8(9, 4))],
      ['its length field is wrong', bytes((copy) => copy.subarray(0, -1))],
      ['an operation is unknown', bytes((copy) => void copy.writeUInt16LE(0x999, 16))],
      ['reserved bits are set', bytes((copy) => void copy.writeUInt16LE(1, 18))],
      ['an operation is cut off', bytes((copy) => void copy.writeUInt32LE(0xffff_ffff, 20))],
      ['the fields of an operation are malformed', bytes((copy) => void copy.writeUInt32LE(0xffff_fff0, 24))],
      ['the fields of an operation are malformed', bytes((copy) => void copy.writeUInt8(0, 29))],
      ['bytes follow the last operation', bytes((copy) => void copy.writeUInt32LE(1, 12))],
      ['it does not end with a program to execute', encodePlan([['HOSTNAME', 'x']])],
      ['operations are out of order', encodePlan([['GATE'], ['PIVOT'], ['EXEC', [], []]])],
      [
        'operations are out of order',
        encodePlan([
          ['EXEC', [], []],
          ['EXEC', [], []],
        ]),
      ],
      [
        'a slot is out of range',
        encodePlan([
          ['TREE_OPEN', 1024, '/', 0],
          ['EXEC', [], []],
        ]),
      ],
    ];
    for (const [reason, plan] of cases)
      expect(check(plan)).toEqual({ status: 1, reason: `refused: ${reason}\n` });
  });
});
