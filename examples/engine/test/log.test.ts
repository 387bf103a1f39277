/** The log as people at a terminal read it. */
import { describe, expect, it } from 'vitest';
import { inWords } from '../src/log.ts';

const line = (fields: object): string => JSON.stringify({ level: 30, time: Date.UTC(2026, 0, 1), ...fields });
const quiet = { stacks: false };

describe('a line of the log, in words,', () => {
  it('says when, how bad, what, and what about', () => {
    expect(
      inWords(line({ msg: 'API listens', address: 'unix:///run/tare.sock', tries: [1] }), quiet),
    ).toMatch(/^\d\d:\d\d:\d\d info {2}API listens address=unix:\/\/\/run\/tare\.sock tries=\[1\]$/);
  });

  it('says of an error what it is, and where it comes from only to who debugs', () => {
    const failed = line({ level: 50, msg: 'request failed', err: { message: 'no answer', stack: 'at x' } });
    expect(inWords(failed, quiet)).toMatch(/ error request failed: no answer$/);
    expect(inWords(failed, { stacks: true })).toMatch(/no answer\nat x$/);
  });

  it('says once what is the message and the error alike', () => {
    expect(inWords(line({ msg: 'same', err: { message: 'same' } }), quiet)).toMatch(/ info {2}same$/);
  });
});
