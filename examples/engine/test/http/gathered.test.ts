/** Bodies in large pieces: every byte in order, however it came and however slowly it is taken. */
import * as fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { gathered } from '../../src/http/gathered.ts';

test('gives what it was given, in fewer pieces when they are taken slowly', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 2000 }), { maxLength: 40 }),
      fc.array(fc.nat(4), { maxLength: 40 }),
      async (parts, waits) => {
        const source = new PassThrough({ highWaterMark: 100 });
        const writing = (async () => {
          for (const [i, part] of parts.entries()) {
            source.write(part);
            if (waits[i] === 0) await setImmediate();
          }
          source.end();
        })();
        const pieces: Buffer[] = [];
        for await (const piece of gathered(source)) {
          pieces.push(piece);
          for (let turn = waits[pieces.length] ?? 0; turn > 0; turn -= 1) await setImmediate();
        }
        await writing;
        expect(Buffer.concat(pieces)).toEqual(Buffer.concat(parts));
        expect(pieces.length).toBeLessThanOrEqual(parts.length);
      },
    ),
  );
});

test('holds the sender up when nobody takes what came', async () => {
  const source = new PassThrough();
  const pieces = gathered(source);
  const first = pieces.next();
  let sent = 0;
  while (sent < 200) {
    source.write(Buffer.alloc(64 * 1024, sent));
    sent += 1;
    await setImmediate();
    if (sent === 1) await first;
  }
  expect(source.writableLength + source.readableLength).toBeGreaterThan(100 * 64 * 1024);
  source.end();
  let bytes = 64 * 1024;
  for await (const piece of pieces) bytes += piece.length;
  expect(bytes).toBe(200 * 64 * 1024);
});

test('a source that breaks off is an error, after what it gave', async () => {
  const source = new PassThrough();
  const pieces = gathered(source);
  source.write('begun');
  expect(String((await pieces.next()).value)).toBe('begun');
  source.destroy();
  await expect(pieces.next()).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' });
  const broken = new PassThrough();
  const rest = gathered(broken);
  const next = rest.next();
  broken.destroy(new Error('reset'));
  await expect(next).rejects.toThrow('reset');
});

test('whoever stops early leaves the rest to the owner of the source', async () => {
  const source = new PassThrough();
  source.write('more');
  for await (const piece of gathered(source)) {
    expect(String(piece)).toBe('more');
    break;
  }
  source.end('rest');
  expect(source.destroyed).toBe(false);
  expect(source.listenerCount('data')).toBe(0);
  const rest = (await source.toArray()) as Buffer[];
  expect(String(Buffer.concat(rest))).toBe('rest');
});
