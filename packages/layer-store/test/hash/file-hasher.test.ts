/** Hashing files on a thread: the digests that the calling thread would find, whoever closes what meanwhile. */
import * as fc from 'fast-check';
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FileHasher } from '../../src/index.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-hash-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A file without a name. */
function file(content: Uint8Array): number {
  const path = join(root, 'file');
  const fd = openSync(path, 'wx+');
  unlinkSync(path);
  writeSync(fd, content);
  return fd;
}

const openFiles = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)].filter((path) => path.startsWith(root));
    } catch {
      return [];
    }
  });

function nameOf(thread: string): string {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

test('any ranges of a file, many at once, give the digests of their bytes', async () => {
  await using hasher = new FileHasher();
  const content = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 251));
  const range = fc.tuple(fc.nat(4999), fc.nat(3000)).map(([offset, length]) => ({
    offset,
    length: Math.min(length, content.length - offset),
  }));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(range, { maxLength: 4 }), { maxLength: 30 }), async (wanted) => {
      const fd = file(content);
      using hashed = hasher.open(fd);
      // nobody has to keep it open for the thread
      closeSync(fd);
      const hashes = wanted.map(() => hashed.begin());
      for (let at = 0; at < 4; at += 1) {
        for (const [i, ranges] of wanted.entries()) {
          const part = ranges[at];
          if (part) hashes[i]!.add(part.offset, part.length);
        }
      }
      const found = await Promise.all(hashes.map((hash) => hash.digest()));
      expect(found).toEqual(
        wanted.map((ranges) =>
          sha256(
            Buffer.concat(ranges.map(({ offset, length }) => content.subarray(offset, offset + length))),
          ),
        ),
      );
    }),
    { numRuns: 30 },
  );
  expect(openFiles()).toEqual([]);
});

test('a file that is shorter than was said has no digest; others have theirs', async () => {
  await using hasher = new FileHasher();
  const fd = file(Buffer.from('short'));
  using hashed = hasher.open(fd);
  closeSync(fd);
  const [long, whole] = [hashed.begin(), hashed.begin()];
  long.add(0, 9);
  whole.add(0, 5);
  await expect(long.digest()).rejects.toMatchObject({
    code: 'IO_ERROR',
    message: 'a file could not be hashed: it ends 4 bytes early',
  });
  expect(await whole.digest()).toBe(sha256(Buffer.from('short')));
});

test('what is not hashed when it is closed never will be, and no descriptor stays', async () => {
  const hasher = new FileHasher();
  const fd = file(Buffer.alloc(10_000_000));
  const hashed = hasher.open(fd);
  closeSync(fd);
  const hash = hashed.begin();
  hash.add(0, 10_000_000);
  const digest = hash.digest();
  hashed[Symbol.dispose]();
  await hasher[Symbol.asyncDispose]();
  await expect(digest).rejects.toMatchObject({ code: 'CLOSED' });
  expect(openFiles()).toEqual([]);
});

test('the thread ends when it has had nothing to do, and starts again', async () => {
  await using hasher = new FileHasher({ idleMs: 500 });
  const threads = (): number =>
    readdirSync('/proc/self/task').filter((id) => nameOf(id) === 'hash files').length;
  const fd = file(Buffer.from('twice'));
  using hashed = hasher.open(fd);
  closeSync(fd);
  for (let round = 0; round < 2; round += 1) {
    const hash = hashed.begin();
    hash.add(0, 5);
    expect(await hash.digest()).toBe(sha256(Buffer.from('twice')));
    expect(threads()).toBe(1);
    await vi.waitFor(() => expect(threads()).toBe(0), { timeout: 10_000 });
  }
});
