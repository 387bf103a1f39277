import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { LogReader, type LogEntry, type LogQuery } from '../../src/logs/json-file.ts';

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-log-'));
  path = join(directory, 'x-json.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const line = (text: string, second = 0, stream = 'stdout'): string =>
  `${JSON.stringify({ log: `${text}\n`, stream, time: `2026-01-01T00:00:${String(second).padStart(2, '0')}.5Z` })}\n`;
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, index) => line(String(from + index))).join('');

async function entries(query?: LogQuery): Promise<LogEntry[]> {
  await using log = await LogReader.open(path, query);
  return (await Array.fromAsync(log)).flat();
}
async function texts(query?: LogQuery): Promise<string[]> {
  return (await entries(query)).map(({ text }) => text.trimEnd());
}

const ns = (second: number): bigint =>
  BigInt(Date.parse('2026-01-01T00:00:00Z') + second * 1000) * 1_000_000n;

describe('LogReader', () => {
  it('is empty when nothing was ever written', async () => {
    expect(await texts()).toEqual([]);
  });

  it('reads entries with stream and time', async () => {
    await writeFile(path, line('a', 1) + line('b', 2, 'stderr'));
    expect(await entries()).toEqual([
      { stream: 'stdout', text: 'a\n', time: '2026-01-01T00:00:01.5Z' },
      { stream: 'stderr', text: 'b\n', time: '2026-01-01T00:00:02.5Z' },
    ]);
  });

  it('reads rotated files first, oldest first', async () => {
    await writeFile(`${path}.2`, line('a'));
    await writeFile(`${path}.1`, line('b'));
    await writeFile(path, line('c'));
    expect(await texts()).toEqual(['a', 'b', 'c']);
  });

  it.each([
    [0, []],
    [1, ['e']],
    [2, ['d', 'e']],
    [3, ['c', 'd', 'e']],
    [4, ['b', 'c', 'd', 'e']],
    [99, ['a', 'b', 'c', 'd', 'e']],
  ])('tails %i entries across rotated files', async (tail, expected) => {
    await writeFile(`${path}.1`, line('a') + line('b') + line('c'));
    await writeFile(path, line('d') + line('e'));
    expect(await texts({ tail })).toEqual(expected);
  });

  it('tails a long file, whose lines cross the blocks it is read in', async () => {
    await writeFile(path, lines(0, 20_000));
    expect(await texts({ tail: 3000 })).toEqual(
      Array.from({ length: 3000 }, (_, index) => String(17_000 + index)),
    );
  });

  it('keeps to a span of time', async () => {
    await writeFile(path, [1, 2, 3, 4].map((second) => line(`at ${second}`, second)).join(''));
    expect(await texts({ sinceNs: ns(2), untilNs: ns(4) })).toEqual(['at 2', 'at 3']);
  });

  it('reads any text, with escapes and without, and parts of lines', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 20 }),
        async (all) => {
          const time = '2026-01-01T00:00:00.123456789Z';
          await writeFile(
            path,
            all.map((log) => `${JSON.stringify({ log, stream: 'stdout', time })}\n`).join(''),
          );
          expect((await entries()).map(({ text }) => text)).toEqual(all);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('skips what is no entry', async () => {
    await writeFile(path, `${line('a')}{"log":"tr\n\0\0\0\n${line('b')}{"log":"cut`);
    expect(await texts()).toEqual(['a', 'b']);
  });
});

describe('LogReader, following', () => {
  /** Collects entries, and lets a test wait for their number. */
  function follow(query: LogQuery): {
    seen: string[];
    until(count: number): Promise<void>;
    done: Promise<void>;
  } {
    const seen: string[] = [];
    let wake = (): void => {};
    const done = (async () => {
      await using log = await LogReader.open(path, query);
      for await (const batch of log) {
        seen.push(...batch.map(({ text }) => text.trimEnd()));
        wake();
      }
    })();
    return {
      seen,
      done,
      async until(count) {
        while (seen.length < count) await new Promise<void>((resolve) => (wake = resolve));
      },
    };
  }

  it('waits for more, and ends with what was written before the end', async () => {
    await writeFile(path, line('a'));
    const { promise, resolve } = Promise.withResolvers<void>();
    const reader = follow({ followUntil: promise });
    await reader.until(1);
    await appendFile(path, line('b').slice(0, 10));
    await appendFile(path, line('b').slice(10));
    await reader.until(2);
    await appendFile(path, line('c'));
    resolve();
    await reader.done;
    expect(reader.seen).toEqual(['a', 'b', 'c']);
  });

  it('follows a log that does not exist yet', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const reader = follow({ followUntil: promise });
    await appendFile(path, line('a'));
    await reader.until(1);
    resolve();
    await reader.done;
    expect(reader.seen).toEqual(['a']);
  });

  it('survives rotation without losing an entry', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await writeFile(path, line('0'));
    const reader = follow({ followUntil: promise });
    await reader.until(1);
    let count = 1;
    for (let round = 0; round < 20; round += 1) {
      await appendFile(path, line(String(count)) + line(String(count + 1)));
      count += 2;
      await rename(path, `${path}.1`);
      await writeFile(path, line(String(count)));
      count += 1;
      await reader.until(count);
    }
    resolve();
    await reader.done;
    expect(reader.seen).toEqual(Array.from({ length: count }, (_, index) => String(index)));
  });

  it('finds the file in the middle when it is rotated twice at once', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await writeFile(path, line('0'));
    const reader = follow({ followUntil: promise });
    await reader.until(1);
    await writeFile(`${path}.next`, line('2'));
    await writeFile(`${path}.middle`, line('1'));
    await rename(path, `${path}.2`);
    await rename(`${path}.middle`, `${path}.1`);
    await rename(`${path}.next`, path);
    resolve();
    await reader.done;
    expect(reader.seen).toEqual(['0', '1', '2']);
  });

  it('starts over when the file is emptied in place', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await writeFile(path, lines(0, 10));
    const reader = follow({ followUntil: promise });
    await reader.until(10);
    await truncate(path, 0);
    await appendFile(path, line('new'));
    await reader.until(11);
    resolve();
    await reader.done;
    expect(reader.seen.at(-1)).toBe('new');
  });

  it('stops when its reader has gone', async () => {
    const gone = new AbortController();
    const reader = follow({ followUntil: new Promise(() => {}), signal: gone.signal });
    gone.abort(new Error('gone'));
    await expect(reader.done).rejects.toThrow('gone');
  });
});
