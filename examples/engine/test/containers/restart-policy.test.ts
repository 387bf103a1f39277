import { describe, expect, it } from 'vitest';

import { nextRestartDelay, shouldRestart } from '../../src/containers/restart-policy.ts';

const exit = { exitCode: 1, restartCount: 0, manuallyStopped: false };

describe('shouldRestart', () => {
  it.each([
    ['no', {}, false],
    ['always', {}, true],
    ['always', { exitCode: 0, manuallyStopped: true }, true],
    ['unless-stopped', {}, true],
    ['unless-stopped', { manuallyStopped: true }, false],
    ['on-failure', {}, true],
    ['on-failure', { exitCode: 0 }, false],
  ] as const)('%s after %j: %s', (Name, facts, expected) => {
    expect(shouldRestart({ Name }, { ...exit, ...facts })).toBe(expected);
  });

  it('gives up after the most retries', () => {
    const policy = { Name: 'on-failure', MaximumRetryCount: 2 };
    expect([0, 1, 2].map((restartCount) => shouldRestart(policy, { ...exit, restartCount }))).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('nextRestartDelay', () => {
  it('doubles from 100 ms up to a minute', () => {
    const delays: number[] = [];
    for (let index = 0; index < 12; index += 1) delays.push(nextRestartDelay(delays.at(-1) ?? 0, 5));
    expect(delays.slice(0, 4)).toEqual([100, 200, 400, 800]);
    expect(delays.at(-1)).toBe(60_000);
  });

  it('begins anew after ten good seconds', () => {
    expect(nextRestartDelay(6400, 10_000)).toBe(100);
  });
});
