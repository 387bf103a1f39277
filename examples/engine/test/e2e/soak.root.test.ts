/**
 * Many short containers, eight at a time: afterwards the daemon is as large as before, and nothing of them is left.
 * 60 of them, 2,000 with --full.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();
const FULL = Boolean(process.env['TARE_TEST_FULL']);
const RUNS = FULL ? 2000 : 60;
const AT_ONCE = 8;
/** Longer than the daemon takes to see that nothing happens, and to give memory back. */
const QUIET_MS = 8_000;

interface Size {
  residentKb: number;
  descriptors: number;
  mounts: number;
  databaseBytes: number;
}

describe.skipIf(missing !== undefined)(`soak${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const measure = (): Size => {
    const { pid } = lab.daemon.child;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const database = ['state.db', 'state.db-wal'].map((name) => join(lab.dataRoot, name));
    return {
      residentKb: Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      mounts: readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split(`${join(lab.dataRoot, '..')}/`).length - 1,
      databaseBytes: database.reduce((sum, path) => sum + (existsSync(path) ? statSync(path).size : 0), 0),
    };
  };

  /** What it is when nothing happens: in between, memory is garbage that nobody has collected yet. */
  const settled = async (): Promise<Size> => {
    if (FULL) await pause(QUIET_MS);
    return measure();
  };

  const runMany = async (count: number): Promise<number[]> => {
    const times: number[] = [];
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const began = performance.now();
        const { code, stdout, stderr } = await lab.docker(
          ['run', '--rm', '-v', '/v', lab.busybox, 'echo', 'hi'],
          {
            timeoutMs: 60_000,
          },
        );
        expect([code, stdout, stderr]).toEqual([0, 'hi\n', '']);
        times.push(performance.now() - began);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return times;
  };

  test(`${RUNS} times run --rm, ${AT_ONCE} at a time`, { timeout: FULL ? 3_600_000 : 180_000 }, async () => {
    // what is made once, and code that is compiled
    await runMany(FULL ? 200 : 24);
    await eventually('all are gone', async () => ((await lab.ok(['ps', '-aq'])) === '' ? true : undefined));
    const before = await settled();
    const times = await runMany(RUNS);
    await eventually('all are gone', async () => ((await lab.ok(['ps', '-aq'])) === '' ? true : undefined));
    const after = await settled();
    const what = JSON.stringify({ before, after });
    expect(await lab.ok(['volume', 'ls', '-q'])).toBe('');
    expect(after.mounts, what).toBe(before.mounts);
    const own = await idsOf(lab);
    expect(cgroupsOfContainers().filter((id) => own.has(id))).toEqual([]);
    expect(own.size).toBeGreaterThan(0);
    // a connection or two of the last clients may still be closing
    expect(after.descriptors, what).toBeLessThanOrEqual(before.descriptors + 4);
    expect(after.databaseBytes, what).toBeLessThanOrEqual(before.databaseBytes + 2 * 1024 * 1024);
    if (!FULL) return;
    // the collector's mood is some megabytes; a leak of one kilobyte a run would be two
    expect(after.residentKb, what).toBeLessThan(before.residentKb * 1.15 + 4096);
    // flat: the last quarter takes no longer than the first
    const p99 = (part: number[]): number => part.toSorted((a, b) => a - b)[Math.floor(part.length * 0.99)]!;
    const quarter = Math.floor(times.length / 4);
    process.stderr.write(`${what} p99 ${p99(times.slice(0, quarter))} → ${p99(times.slice(-quarter))} ms\n`);
  });
});

/** Ids of the containers that the engine remembers to have made. */
async function idsOf(lab: Lab): Promise<Set<string>> {
  const filters = encodeURIComponent(JSON.stringify({ event: ['create'], type: ['container'] }));
  const { body } = await lab.api('GET', `/events?since=1&until=${Date.now() / 1000}&filters=${filters}`);
  const lines = body.toString().trim().split('\n');
  return new Set(lines.map((line) => (JSON.parse(line) as { Actor: { ID: string } }).Actor.ID));
}

/** Containers that have a cgroup, those of other engines among them. */
function cgroupsOfContainers(): string[] {
  const roots = ['/sys/fs/cgroup/tare', '/sys/fs/cgroup/pids/tare'];
  return roots.filter((path) => existsSync(path)).flatMap((path) => readdirSync(path));
}
