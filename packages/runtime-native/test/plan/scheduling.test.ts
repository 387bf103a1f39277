import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  parseBitList,
  shareOperations,
  standingOperations,
  timeOperations,
} from '../../src/plan/scheduling.ts';
import { defaultSpec } from '../../src/spec/index.ts';
import type { ProcessSpec } from '../../src/spec/index.ts';

type Scheduler = NonNullable<ProcessSpec['scheduler']>;
const none = { apparmor: false, selinux: false };

function scheduled(scheduler: Scheduler): unknown[] {
  const spec = defaultSpec(['true']);
  return [...shareOperations({ ...spec.process!, scheduler })];
}

describe('how a process is scheduled', () => {
  it('takes all of a deadline, and a negative niceness', () => {
    expect(scheduled({ policy: 'SCHED_DEADLINE', runtime: 2000, deadline: 3000, period: 4000 })).toEqual([
      ['SCHEDULER', 6, 0, 0, 0n, 2000n, 3000n, 4000n],
    ]);
    expect(scheduled({ policy: 'SCHED_OTHER', nice: -20 })).toEqual([
      ['SCHEDULER', 0, 0xffff_ffec, 0, 0n, 0n, 0n, 0n],
    ]);
  });

  it('refuses what contradicts itself', () => {
    const cases: [field: string, scheduler: Scheduler][] = [
      ['process.scheduler.priority', { policy: 'SCHED_FIFO' }],
      ['process.scheduler.priority', { policy: 'SCHED_RR', priority: 100 }],
      ['process.scheduler.priority', { policy: 'SCHED_OTHER', priority: 1 }],
      ['process.scheduler', { policy: 'SCHED_DEADLINE', runtime: 3000, deadline: 2000, period: 4000 }],
      ['process.scheduler', { policy: 'SCHED_BATCH', runtime: 3000 }],
    ];
    for (const [field, scheduler] of cases) {
      expect(() => scheduled(scheduler), JSON.stringify(scheduler)).toThrow(
        expect.objectContaining({ code: 'INVALID_SPEC', field }),
      );
    }
    expect(() => scheduled({ policy: 'SCHED_ISO' })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', field: 'process.scheduler.policy' }),
    );
  });

  it('gives labels to the module that is on, each in its file', () => {
    const spec = defaultSpec(['true']);
    const process = { ...spec.process!, apparmorProfile: 'p', selinuxLabel: 'a:b:c:d' };
    expect([...standingOperations(spec, process, { apparmor: true, selinux: true })]).toEqual([
      ['EXEC_LABEL', 'apparmor/exec', 'exec p'],
      ['EXEC_LABEL', 'exec', 'a:b:c:d'],
    ]);
    // without AppArmor everything is unconfined
    expect([...standingOperations(spec, { ...spec.process!, apparmorProfile: 'unconfined' }, none)]).toEqual(
      [],
    );
  });

  it('writes clocks as the kernel reads them', () => {
    expect([...timeOperations({ timeOffsets: { boottime: { secs: -5 } } })]).toEqual([
      ['TIME_OFFSETS', 'boottime -5 0\n'],
    ]);
    expect([...timeOperations({})]).toEqual([]);
  });
});

describe('a list of numbers', () => {
  it('becomes exactly its bits', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(8191), { minLength: 1, maxLength: 40 }), (numbers) => {
        const mask = parseBitList(numbers.join(','), 8192, 'x');
        const found: number[] = [];
        mask.forEach((byte, i) => {
          for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) found.push(i * 8 + bit);
        });
        expect(found).toEqual(numbers.toSorted((a, b) => a - b));
        expect(mask.length % 8).toBe(0);
      }),
    );
  });

  it('refuses what is no list, and numbers without bound', () => {
    for (const list of ['', '1-', '3-1', 'a', '0,,1', '-1', '0-4294967295', '8192']) {
      expect(() => parseBitList(list, 8192, 'x'), list).toThrow(
        expect.objectContaining({ code: 'INVALID_SPEC', field: 'x' }),
      );
    }
  });
});
