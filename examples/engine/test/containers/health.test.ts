import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  afterProbe,
  healthPlan,
  initialHealth,
  nextProbeMs,
  type Health,
  type HealthPlan,
} from '../../src/containers/health.ts';

const S = 1_000_000_000;
const plan: HealthPlan = {
  args: ['check'],
  intervalMs: 30_000,
  timeoutMs: 30_000,
  startPeriodMs: 0,
  startIntervalMs: 5_000,
  retries: 3,
};
const starting: Health = { status: 'starting', failingStreak: 0, log: [] };
const answer = (exitCode: number) => ({ start: 's', end: 'e', exitCode, output: '' });

/** The health after a row of exit codes, all given `runsForMs` after the start. */
const after = (codes: number[], with_: Partial<HealthPlan> = {}, runsForMs = 60_000): Health =>
  codes.reduce(
    (health, code) => afterProbe(health, answer(code), { ...plan, ...with_ }, runsForMs),
    starting,
  );

describe('the plan of a health check', () => {
  it('fills in the defaults', () => {
    expect(healthPlan({ Healthcheck: { Test: ['CMD', 'check'] } })).toEqual(plan);
  });

  it('takes times in nanoseconds', () => {
    expect(
      healthPlan({
        Healthcheck: {
          Test: ['CMD', 'a'],
          Interval: S,
          Timeout: 2 * S,
          StartPeriod: 3 * S,
          StartInterval: S / 2,
        },
      }),
    ).toMatchObject({ intervalMs: 1000, timeoutMs: 2000, startPeriodMs: 3000, startIntervalMs: 500 });
  });

  it.each([
    [['CMD-SHELL', 'a && b'], undefined, ['/bin/sh', '-c', 'a && b']],
    [
      ['CMD-SHELL', 'a'],
      ['/bin/bash', '-ec'],
      ['/bin/bash', '-ec', 'a'],
    ],
    [['CMD', 'a', 'b'], undefined, ['a', 'b']],
  ])('%j with shell %j runs %j', (Test, Shell, args) => {
    expect(healthPlan({ Healthcheck: { Test }, ...(Shell ? { Shell } : {}) })?.args).toEqual(args);
  });

  it.each([[{ Test: ['NONE'] }], [{ Test: [] }], [{}], [undefined]])('is none for %j', (Healthcheck) => {
    const config = Healthcheck ? { Healthcheck } : {};
    expect(healthPlan(config)).toBeUndefined();
    expect(initialHealth(config)).toBeUndefined();
  });
});

describe('health', () => {
  it('is starting until a check says otherwise', () => {
    expect(after([]).status).toBe('starting');
    expect(after([1, 1])).toMatchObject({ status: 'starting', failingStreak: 2 });
    expect(after([0]).status).toBe('healthy');
  });

  it('turns bad after as many failures in a row as there are retries', () => {
    expect(after([0, 1, 1])).toMatchObject({ status: 'healthy', failingStreak: 2 });
    expect(after([0, 1, 1, -1])).toMatchObject({ status: 'unhealthy', failingStreak: 3 });
    expect(after([0, 1, 1, 0, 1, 1]).status).toBe('healthy');
    expect(after([1, 1, 1, 0])).toMatchObject({ status: 'healthy', failingStreak: 0 });
  });

  it('forgives failures of the start period, until a first success', () => {
    const slow = { startPeriodMs: 120_000 };
    expect(after([1, 1, 1, 1], slow)).toMatchObject({ status: 'starting', failingStreak: 0 });
    expect(after([1, 0, 1, 1, 1], slow)).toMatchObject({ status: 'unhealthy', failingStreak: 3 });
  });

  it('is asked more often during the start period', () => {
    const slow = { ...plan, startPeriodMs: 120_000 };
    expect(nextProbeMs(slow, starting, 0)).toBe(5_000);
    expect(nextProbeMs(slow, starting, 120_000)).toBe(30_000);
    expect(nextProbeMs(slow, { ...starting, status: 'healthy' }, 0)).toBe(30_000);
    expect(nextProbeMs(plan, starting, 0)).toBe(30_000);
  });

  it('keeps the last five answers, and is bad only after `retries` failures at the end', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -1, max: 2 }), { maxLength: 20 }),
        fc.integer({ min: 1, max: 5 }),
        (codes, retries) => {
          const health = after(codes, { retries });
          const streak = codes.length - 1 - codes.lastIndexOf(0);
          expect(health.log.map(({ exitCode }) => exitCode)).toEqual(codes.slice(-5));
          expect(health.failingStreak).toBe(streak);
          expect(health.status === 'unhealthy').toBe(streak >= retries);
        },
      ),
    );
  });
});
