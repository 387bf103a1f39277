import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { readBytes, verifyStream, Verifier } from '../../src/content/index.ts';
import { digestOf } from '../../src/index.ts';

test('passes what the descriptor promises, however it is cut, for both algorithms', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 }),
      fc.constantFrom('sha256' as const, 'sha512' as const),
      async (chunks, algorithm) => {
        const whole = Buffer.concat(chunks);
        const expected = { size: whole.length, digest: await digestOf(whole, algorithm) };
        const bytes = await readBytes(verifyStream(expected, chunks, createHash), 1_000);
        expect(Buffer.from(bytes).equals(whole)).toBe(true);
      },
    ),
  );
});

test('agrees with node:crypto on digests of bytes in memory', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 500 }), async (bytes) => {
      expect(await digestOf(bytes)).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
      expect(await digestOf(bytes, 'sha512')).toBe(
        `sha512:${createHash('sha512').update(bytes).digest('hex')}`,
      );
    }),
  );
});

test('refuses any single changed, added or missing byte', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.nat(), async (bytes, seed) => {
      const expected = { size: bytes.length, digest: await digestOf(bytes) };
      const changed = bytes.slice();
      changed[seed % bytes.length]! ^= 1 + (seed % 255);
      const run = (content: Uint8Array) => readBytes(verifyStream(expected, [content], createHash), 1_000);
      await expect(run(changed)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
      await expect(run(bytes.subarray(1))).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
      await expect(run(Buffer.concat([bytes, changed]))).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    }),
  );
});

test('checks only the size of what begins later', async () => {
  const expected = { size: 5, digest: await digestOf(new Uint8Array(5)) };
  const rest = new Verifier(expected, createHash, 3);
  rest.update(new Uint8Array([1]));
  expect(() => rest.end()).toThrow(expect.objectContaining({ code: 'SIZE_MISMATCH' }));
  rest.update(new Uint8Array([2]));
  rest.end();
  expect(rest.size).toBe(5);
  expect(() => rest.update(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'SIZE_MISMATCH' }));
  for (const offset of [-1, 6, NaN]) {
    expect(() => new Verifier(expected, createHash, offset)).toThrow(RangeError);
  }
});

test('stops an endless stream at the first byte too many', async () => {
  let given = 0;
  const endless = (function* () {
    for (;;) {
      given += 1;
      yield new Uint8Array(10);
    }
  })();
  const expected = { size: 25, digest: await digestOf(new Uint8Array(25)) };
  await expect(readBytes(verifyStream(expected, endless, createHash), 1e9)).rejects.toMatchObject({
    code: 'SIZE_MISMATCH',
  });
  expect(given).toBe(3);
});

test('collects no more than it was allowed to', async () => {
  await expect(readBytes([new Uint8Array(5), new Uint8Array(6)], 10)).rejects.toMatchObject({
    code: 'TOO_LARGE',
  });
  expect((await readBytes([new Uint8Array(5), new Uint8Array(5)], 10)).length).toBe(10);
});

test('does not hash again what checks itself, for the same digest and size alone', async () => {
  const bytes = new TextEncoder().encode('content');
  const expected = { digest: await digestOf(bytes), size: bytes.byteLength };
  let hashes = 0;
  const counted: typeof createHash = (...given) => {
    hashes += 1;
    return createHash(...given);
  };
  const once = verifyStream(expected, [bytes], counted);
  expect(verifyStream(expected, once, counted)).toBe(once);
  const other = { ...expected, digest: await digestOf(new Uint8Array()) };
  await expect(readBytes(verifyStream(other, once, counted), 100)).rejects.toMatchObject({
    code: 'DIGEST_MISMATCH',
  });
  expect(hashes).toBe(2);
});
