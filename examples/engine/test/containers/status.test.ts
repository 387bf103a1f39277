import { describe, expect, it } from 'vitest';

import { createdState, type ContainerState } from '../../src/containers/container.ts';
import { humanDuration, statusPhrase, statusWord } from '../../src/containers/status.ts';

const now = Date.parse('2026-01-02T12:00:00Z');
const ago = (seconds: number): string => new Date(now - seconds * 1000).toISOString();
const state = (changes: Partial<ContainerState>): ContainerState => ({ ...createdState({}), ...changes });

describe('statusWord and statusPhrase', () => {
  it.each<[string, string, Partial<ContainerState>]>([
    ['created', 'Created', {}],
    ['running', 'Up 3 seconds', { running: true, startedAt: ago(3) }],
    ['paused', 'Up 2 minutes (Paused)', { running: true, paused: true, startedAt: ago(120) }],
    [
      'restarting',
      'Restarting (1) 5 seconds ago',
      { running: true, restarting: true, exitCode: 1, startedAt: ago(9), finishedAt: ago(5) },
    ],
    ['exited', 'Exited (3) 5 seconds ago', { exitCode: 3, startedAt: ago(9), finishedAt: ago(5) }],
    ['exited', 'Exited (0) Less than a second ago', { startedAt: ago(9), finishedAt: ago(0) }],
    ['removing', 'Removal In Progress', { removing: true }],
    ['dead', 'Dead', { dead: true, startedAt: ago(1) }],
  ])('%s reads "%s"', (word, phrase, changes) => {
    expect(statusWord(state(changes))).toBe(word);
    expect(statusPhrase(state(changes), now)).toBe(phrase);
  });
});

describe('humanDuration', () => {
  it.each([
    [0, 'Less than a second'],
    [999, 'Less than a second'],
    [1000, '1 second'],
    [59_999, '59 seconds'],
    [60_000, 'About a minute'],
    [119_999, 'About a minute'],
    [120_000, '2 minutes'],
    [3_599_000, '59 minutes'],
    [3_600_000, 'About an hour'],
    [5_399_000, 'About an hour'],
    [5_400_000, '2 hours'],
    [47 * 3_600_000, '47 hours'],
    [48 * 3_600_000, '2 days'],
    [13 * 86_400_000, '13 days'],
    [14 * 86_400_000, '2 weeks'],
    [60 * 86_400_000, '2 months'],
    [800 * 86_400_000, '2 years'],
  ])('%d ms is "%s"', (ms, text) => {
    expect(humanDuration(ms)).toBe(text);
  });
});
