import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WrittenHash } from '../../src/content/written-hash.ts';
import { FileHasher, openFileContent } from '../../src/index.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-hash-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
async function* inPieces(bytes: Uint8Array, size = 300_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
/** Open descriptors of this process below `root`. */
async function openFiles(): Promise<string[]> {
  const links = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
  return (await Promise.all(links)).filter((path) => path.startsWith(root));
}

test.each([0, 1, 4 * MIB, 4 * MIB + 1, 21 * MIB + 5])(
  'content of %i bytes that is created has the digest of what was given, and is that',
  async (size) => {
    const content = await openFileContent(root);
    const bytes = randomBytes(size);
    const { digest, size: stored } = await content.create(inPieces(bytes));
    expect(stored).toBe(size);
    expect(digest).toBe(sha256(bytes));
    expect((await readFile(content.path(digest))).equals(bytes)).toBe(true);
    expect(await readdir(join(root, 'ingest'))).toEqual([]);
    expect(await openFiles()).toEqual([]);
  },
);

test('content that breaks off after it was large leaves nothing behind', async () => {
  const content = await openFileContent(root);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield* inPieces(randomBytes(12 * MIB));
    throw new Error('no more');
  }
  await expect(content.create(broken())).rejects.toThrow('no more');
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
  expect(await Array.fromAsync(content.list())).toEqual([]);
  expect(await openFiles()).toEqual([]);
});

const alone = availableParallelism() > 1 ? '' : ' (with one processor nobody reads it again)';
test.skipIf(alone !== '')(
  `a file that does not have what was written to it has no digest${alone}`,
  async () => {
    const path = join(root, 'file');
    await writeFile(path, Buffer.alloc(MIB));
    await using hasher = new FileHasher();
    await using hash = new WrittenHash(hasher);
    hash.update(Buffer.alloc(9 * MIB));
    hash.written(path, 9 * MIB);
    await expect(hash.digest()).rejects.toMatchObject({ code: 'IO_ERROR' });
  },
);

test('a process that may not start threads hashes on its own', async () => {
  const source = new URL('../../src/content/file-content.ts', import.meta.url).href;
  const program = `import { openFileContent } from '${source}';
    const content = await openFileContent('${root}');
    async function* pieces() { for (let i = 0; i < 20; i++) yield Buffer.alloc(1024 * 1024, i); }
    console.log(JSON.stringify(await content.create(pieces())));`;
  const args = ['--permission', '--allow-fs-read=*', '--allow-fs-write=*', '--conditions=@tare/source'];
  const run = promisify(execFile)(process.execPath, [...args, '--input-type=module', '-e', program]);
  const bytes = Buffer.concat(Array.from({ length: 20 }, (_, i) => Buffer.alloc(MIB, i)));
  expect(JSON.parse((await run).stdout)).toEqual({ digest: sha256(bytes), size: 20 * MIB });
});

test('a piece need be valid only until the next is asked for', async () => {
  const content = await openFileContent(root);
  const bytes = randomBytes(6 * MIB + 1);
  const place = Buffer.alloc(700_000);
  // of all sizes around those that are written at once
  const sizes = [1, 16 * 1024 - 1, 300_000, 512 * 1024, 700_000, 512 * 1024 + 1, 5];
  async function* reused(): AsyncGenerator<Uint8Array> {
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const length = Math.min(sizes[i % sizes.length]!, bytes.length - at);
      bytes.copy(place, 0, at, at + length);
      yield place.subarray(0, length);
      at += length;
      place.fill(0);
    }
  }
  const { digest, size } = await content.create(reused());
  expect([digest, size]).toEqual([sha256(bytes), bytes.length]);
  expect((await readFile(content.path(digest))).equals(bytes)).toBe(true);
});
