import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { constants, crc32, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { decompress, detectCompression } from '../src/index.ts';
import { inflater } from '../src/inflate.ts';

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** By all ways, which must agree. */
async function inflate(bytes: Uint8Array, size = bytes.length || 1): Promise<Buffer> {
  const whole = Buffer.concat(await Array.fromAsync(decompress(pieces(bytes, size))));
  for (const withoutChecksums of [false, true]) {
    const copies: Buffer[] = [];
    const options = { onThisThread: true, withoutChecksums };
    for await (const chunk of decompress(pieces(bytes, size), options)) copies.push(Buffer.from(chunk));
    expect(Buffer.concat(copies).equals(whole)).toBe(true);
  }
  return whole;
}

test('this version of Node.js inflates on the calling thread', () => {
  expect(inflater({ chunkSize: 65_536 })).toBeDefined();
});

test('both ways end the same way when a file is damaged, wherever that is', async () => {
  const bytes = gzipSync(content.subarray(0, 200_000), { level: 1 });
  for (let round = 0; round < 200; round++) {
    const damaged = Buffer.from(bytes);
    const at = randomInt(damaged.length);
    damaged[at] = damaged[at]! ^ (1 << randomInt(8));
    const cut = round % 3 === 0 ? damaged.subarray(0, randomInt(damaged.length)) : damaged;
    const [streams, here] = await Promise.all(
      [false, true].map(async (onThisThread) => {
        const hash = createHash('sha256');
        try {
          for await (const chunk of decompress(pieces(cut, 5_000), { onThisThread })) hash.update(chunk);
          return hash.digest('hex');
        } catch (error) {
          return (error as NodeJS.ErrnoException).code;
        }
      }),
    );
    expect(here).toBe(streams);
  }
});

test('without checksums a file ends the same way, or differently by its content or its checksum alone', async () => {
  const text = content.subarray(0, 200_000);
  const bytes = Buffer.concat([gzipSync(text.subarray(0, 90_000)), gzipSync(text.subarray(90_000))]);
  const outcome = async (file: Buffer, withoutChecksums: boolean): Promise<string> => {
    const hash = createHash('sha256');
    try {
      const options = { onThisThread: true, withoutChecksums };
      for await (const chunk of decompress(pieces(file, 5_000), options)) hash.update(chunk);
      return hash.digest('hex');
    } catch (error) {
      return `${(error as NodeJS.ErrnoException).code}: ${(error as Error).message}`;
    }
  };
  const whole = await outcome(bytes, false);
  for (let round = 0; round < 300; round++) {
    const damaged = Buffer.from(bytes);
    const at = randomInt(damaged.length);
    if (round % 2 === 0) damaged[at] = damaged[at]! ^ (1 << randomInt(8));
    const garbage = [Buffer.alloc(0), Buffer.alloc(3), Buffer.from('x'), Buffer.from([0x1f])][round % 4]!;
    const cut = round % 3 === 0 ? damaged.subarray(0, randomInt(damaged.length)) : damaged;
    const file = Buffer.concat([cut, garbage]);
    const [checked, unchecked] = [await outcome(file, false), await outcome(file, true)];
    if (/incorrect (?:data|length) check|header crc/.test(checked)) expect(unchecked).not.toBe(checked);
    else expect(unchecked, `at ${at} of round ${round}`).toBe(checked);
    expect(await outcome(bytes, true)).toBe(whole);
  }
});

test.each([
  ['a name', 0x08, 'name\0'],
  ['a comment', 0x10, 'comment\0'],
  ['a checksum of itself', 0x02, undefined],
  ['more fields', 0x04, '\x05\0extra'],
  ['all of it', 0x1e, '\x05\0extraname\0comment\0'],
])('reads a gzip header with %s, in pieces of any size', async (_, flags, fields = '') => {
  const plain = gzipSync('content');
  const header = Buffer.concat([plain.subarray(0, 10), Buffer.from(fields, 'latin1')]);
  header[3] = flags;
  const sum = Buffer.alloc(2);
  sum.writeUInt16LE(crc32(header) & 0xffff);
  const file = Buffer.concat([header, flags & 0x02 ? sum : Buffer.alloc(0), plain.subarray(10)]);
  for (const size of [1, 2, 3, 100]) {
    expect((await inflate(Buffer.concat([file, file]), size)).toString()).toBe('contentcontent');
  }
});

test('a gzip header that does not end is refused before it fills the memory', async () => {
  const header = Buffer.from(gzipSync('').subarray(0, 10));
  header[3] = 0x08;
  let given = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield header;
    for (; given < 1000; given++) yield Buffer.alloc(65_536, 'x');
  }
  const options = { onThisThread: true, withoutChecksums: true };
  await expect(Array.fromAsync(decompress(endless(), options))).rejects.toMatchObject({
    code: 'Z_DATA_ERROR',
  });
  expect(given).toBeLessThan(20);
});

const content = Buffer.concat([Buffer.alloc(3_000_000, 'layer '), randomBytes(300_000)]);
const skippable = Buffer.concat([Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from('12345')]);

test.each([
  ['plain', content],
  ['gzip', gzipSync(content)],
  [
    'two gzip members',
    Buffer.concat([gzipSync(content.subarray(0, 1000)), gzipSync(content.subarray(1000))]),
  ],
  ['zstd', zstdCompressSync(content)],
  ['zstd with a checksum', zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })],
  [
    'many zstd frames with skippable ones between, as zstd:chunked has them',
    Buffer.concat([
      skippable,
      zstdCompressSync(content.subarray(0, 0)),
      zstdCompressSync(content.subarray(0, 10)),
      skippable,
      zstdCompressSync(content.subarray(10, 500_000)),
      zstdCompressSync(content.subarray(500_000)),
      skippable,
    ]),
  ],
])('gives back the content of %s, in chunks of any size', async (_, bytes) => {
  for (const size of [bytes.length, 65_536, 4_099]) {
    expect((await inflate(bytes, size)).equals(content)).toBe(true);
  }
});

test('finds frame ends in what zstd and gzip of the system write, byte by byte', async () => {
  const text = Buffer.from('some text that repeats, some text that repeats');
  const framed = Buffer.concat([zstdCompressSync(text), skippable, zstdCompressSync(text)]);
  expect((await inflate(framed, 1)).toString()).toBe(text.toString().repeat(2));
  expect(await inflate(execFileSync('gzip', ['-9'], { input: text }), 1)).toEqual(text);
});

test('an empty stream is an empty plain one', async () => {
  expect(await inflate(Buffer.alloc(0))).toHaveLength(0);
});

test.each([
  ['a gzip file that is cut short', gzipSync(content).subarray(0, -5)],
  ['a zstd file that is cut short', zstdCompressSync(content).subarray(0, -5)],
  ['a zstd file with garbage at its end', Buffer.concat([zstdCompressSync(content), Buffer.from('garbage')])],
  [
    'a zstd file that ends inside a magic number',
    Buffer.concat([zstdCompressSync(content), Buffer.from([0x28, 0xb5])]),
  ],
  ['a damaged gzip file', Buffer.concat([gzipSync(content).subarray(0, 1000), Buffer.alloc(1000, 1)])],
])('throws for %s', async (_, bytes) => {
  await expect(inflate(bytes)).rejects.toThrow();
});

test('refuses a zstd window that would take gigabytes of memory', async () => {
  // magic, descriptor without single segment, window descriptor of 2 GiB, one raw block
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0x00, 0x00, 0x41]);
  await expect(inflate(frame)).rejects.toMatchObject({ code: 'ZSTD_error_frameParameter_windowTooLarge' });
});

test.each([
  ['bzip2', Buffer.from('BZh91AY&SY')],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
])('says that %s is not supported', async (name, bytes) => {
  await expect(inflate(bytes)).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining(name),
  });
});

test('knows compressions by their first bytes', () => {
  expect(detectCompression(gzipSync('x'))).toBe('gzip');
  expect(detectCompression(zstdCompressSync('x'))).toBe('zstd');
  expect(detectCompression(skippable)).toBe('zstd');
  expect(detectCompression(Buffer.from('etc/'))).toBe('none');
});

test('passes on the error of its source, and stops the source when its reader stops', async () => {
  const compressed = gzipSync(content);
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield compressed.subarray(0, 1000);
    throw new Error('line cut');
  }
  await expect(Array.fromAsync(decompress(failing()))).rejects.toThrow('line cut');
  const stopped = Promise.withResolvers<void>();
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* pieces(compressed, 1000);
    } finally {
      stopped.resolve();
    }
  }
  for await (const _ of decompress(watched())) break;
  await stopped.promise;
});
