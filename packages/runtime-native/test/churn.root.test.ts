/** What a long-lived caller pays for containers that are gone: nothing. */
import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { shellSpec } from '../src/testing/index.ts';
import { children, describeContainers, leftovers, machineMounts, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

/** Twenty kilobytes a container: less than any leak of one, and more than a process's memory goes up and down. */
const NOISE_BYTES = 4 << 20;

describeContainers('a caller that makes and deletes containers all the time', () => {
  let lab: Lab;
  let collectGarbage: () => void;
  beforeAll(() => {
    lab = makeLab();
    setFlagsFromString('--expose-gc');
    collectGarbage = runInNewContext('gc') as () => void;
  });
  afterAll(() => lab.dispose());

  async function once(): Promise<void> {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'exit 0') });
    await container.start();
    await container.wait();
    await container.delete();
  }

  async function use(): Promise<{ descriptors: number; mounts: string[]; memory: number }> {
    // monitors are reaped shortly after they have told the end
    await expect.poll(() => children(), { interval: 2 }).toEqual([]);
    collectGarbage();
    const { rss, heapTotal, heapUsed } = process.memoryUsage();
    return {
      descriptors: readdirSync('/proc/self/fd').length,
      mounts: machineMounts(),
      // what V8 keeps for later is not counted
      memory: rss - heapTotal + heapUsed,
    };
  }

  it('has no more descriptors, mounts and memory after 200 of them', { timeout: 120_000 }, async () => {
    // code is compiled, and buffers reach their size
    for (let i = 0; i < 50; i++) await once();
    let before = await use();
    let after = before;
    // code that is compiled late and memory that malloc keeps make for a step; what leaks grows every time
    for (let attempt = 0; attempt < 3; attempt++) {
      before = after;
      for (let i = 0; i < 200; i++) await once();
      after = await use();
      if (after.memory - before.memory < NOISE_BYTES) break;
    }
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors);
    expect(after.mounts).toEqual(before.mounts);
    expect(after.memory - before.memory).toBeLessThan(NOISE_BYTES);
    expect(leftovers(lab)).toEqual([]);
  });
});
