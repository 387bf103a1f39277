import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { compileDeviceRules } from '../../src/cgroups/devices-program.ts';
import { layoutOf } from '../../src/cgroups/layout.ts';
import { cpuWeight, ioWeight, swapMax } from '../../src/cgroups/v2.ts';
import { parseMountInfo } from '../../src/mounts.ts';

describe('the layout of cgroups', () => {
  const line = (id: number, target: string, type: string, options: string): string =>
    `${id} 1 0:${id} / ${target} rw,relatime - ${type} ${type} ${options}\n`;
  const layout = (text: string) => layoutOf(parseMountInfo(text), () => ['hugetlb']);

  test('is v1, hybrid or v2, by what is mounted', () => {
    const v1 =
      line(10, '/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'rw,cpu,cpuacct') +
      line(11, '/sys/fs/cgroup/systemd', 'cgroup', 'rw,xattr,release_agent=/x,name=systemd') +
      line(12, '/sys/fs/cgroup/other', 'cgroup', 'rw,name=other');
    expect(layout(v1)).toEqual({
      kind: 'v1',
      hierarchies: [
        { version: 1, mountPoint: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
        { version: 1, mountPoint: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'] },
      ],
    });
    const v2 = line(20, '/sys/fs/cgroup/unified', 'cgroup2', 'rw,nsdelegate');
    expect(layout(v2).kind).toBe('v2');
    expect(layout(v1 + v2).kind).toBe('hybrid');
    expect(layout(v1 + v2).hierarchies.at(-1)!.controllers).toEqual(['hugetlb']);
  });

  test('counts a hierarchy once that is mounted twice', () => {
    const twice = line(20, '/a', 'cgroup2', 'rw') + line(20, '/b', 'cgroup2', 'rw');
    expect(layout(twice).hierarchies.map(({ mountPoint }) => mountPoint)).toEqual(['/a']);
  });

  test('is an error where there is none', () => {
    expect(() => layout(line(1, '/', 'ext4', 'rw'))).toThrowError(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
  });
});

describe('numbers of version 1 in version 2', () => {
  test('map minimum, default and maximum of cpu shares onto those of weights', () => {
    expect([0, 2, 1024, 262_144].map(cpuWeight)).toEqual([0, 1, 100, 10_000]);
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 262_143 }), (shares) => {
        expect(cpuWeight(shares)).toBeLessThanOrEqual(cpuWeight(shares + 1));
        expect(cpuWeight(shares)).toBeGreaterThanOrEqual(1);
      }),
    );
  });

  test('map the bounds of block I/O weights', () => {
    expect([0, 10, 1000].map(ioWeight)).toEqual([0, 1, 10_000]);
  });

  test('take memory off memory plus swap', () => {
    expect(swapMax(undefined, 100)).toBeUndefined();
    expect(swapMax(150, 100)).toBe('50');
    expect(swapMax(100, 100)).toBe('0');
    expect(swapMax(-1, 100)).toBe('max');
    expect(swapMax(undefined, -1)).toBe('max');
    expect(() => swapMax(50, 100)).toThrowError(expect.objectContaining({ code: 'INVALID_SPEC' }));
    expect(() => swapMax(50, undefined)).toThrowError(expect.objectContaining({ code: 'INVALID_SPEC' }));
  });
});

describe('the program of device rules', () => {
  const ACCESS = { m: 1, r: 2, w: 4 } as const;
  type Letter = keyof typeof ACCESS;

  /** eBPF, as much of it as the compiler uses. */
  function run(program: Uint8Array, type: 'b' | 'c', access: number, major: number, minor: number): number {
    const code = new DataView(program.buffer);
    const context = [(access << 16) | (type === 'b' ? 1 : 2), major, minor];
    const registers = Array.from({ length: 11 }, () => 0);
    for (let at = 0; at < program.length / 8; at++) {
      const operation = code.getUint8(at * 8);
      const destination = code.getUint8(at * 8 + 1) & 15;
      const source = code.getUint8(at * 8 + 1) >> 4;
      const offset = code.getInt16(at * 8 + 2, true);
      const immediate = code.getInt32(at * 8 + 4, true);
      const value = registers[destination]!;
      if (operation === 0x61) registers[destination] = context[offset / 4]!;
      else if (operation === 0xbc) registers[destination] = registers[source]!;
      else if (operation === 0xb7) registers[destination] = immediate;
      else if (operation === 0x54) registers[destination] = value & immediate;
      else if (operation === 0x74) registers[destination] = value >>> immediate;
      else if (operation === 0x55) at += value === immediate ? 0 : offset;
      else if (operation === 0x45) at += (value & immediate) === 0 ? 0 : offset;
      else if (operation === 0x05) at += offset;
      else if (operation === 0x95) return registers[0]!;
      else throw new Error(`operation ${operation}`);
    }
    throw new Error('the program ran off its end');
  }

  const number = fc.option(fc.integer({ min: -1, max: 3 }), { nil: undefined });
  const rule = fc.record({
    allow: fc.boolean(),
    type: fc.constantFrom('a' as const, 'b' as const, 'c' as const, 'c' as const, undefined),
    major: number,
    minor: number,
    access: fc.constantFrom(undefined, '', 'r', 'w', 'm', 'rw', 'rwm', 'rm'),
  });

  test('lets the last rule that fits decide about each access, and denies what none decides', () => {
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 8 }),
        fc.constantFrom('b' as const, 'c' as const),
        fc.nat(3),
        fc.nat(3),
        fc.integer({ min: 1, max: 7 }),
        (rules, type, major, minor, access) => {
          // undefined properties mean the same as absent ones
          const program = compileDeviceRules(JSON.parse(JSON.stringify(rules)) as typeof rules);
          const allowed = (letter: Letter): boolean => {
            const last = rules.findLast((rule) => {
              if (rule.type === undefined || rule.type === 'a') return true;
              const fits = (wanted: number | undefined, actual: number): boolean =>
                wanted === undefined || wanted < 0 || wanted === actual;
              return (
                rule.type === type &&
                fits(rule.major, major) &&
                fits(rule.minor, minor) &&
                (rule.access || 'rwm').includes(letter)
              );
            });
            return last?.allow ?? false;
          };
          const expected = (['m', 'r', 'w'] as const)
            .filter((letter) => access & ACCESS[letter])
            .every((letter) => allowed(letter));
          expect(run(program, type, access, major, minor)).toBe(expected ? 1 : 0);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
