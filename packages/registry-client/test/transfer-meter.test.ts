import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { TransferMeter, type TransferEvent, type TransferTotals } from '../src/index.ts';
import { describeBytes } from './support.ts';

const blobs = [100, 2_000, 0].map((size) => describeBytes(Buffer.alloc(size)));
const event = (
  kind: TransferEvent['kind'],
  blob: number,
  transferredBytes: number,
  direction: 'pull' | 'push' = 'pull',
): TransferEvent => ({
  kind,
  direction,
  descriptor: blobs[blob]!,
  transferredBytes,
  totalBytes: blobs[blob]!.size,
  host: 'a.example',
});

function metered(intervalMs = 0) {
  const told: TransferTotals[] = [];
  const clock = { now: 1_000 };
  const meter = new TransferMeter((totals) => told.push(totals), { intervalMs, now: () => clock.now });
  return { told, clock, meter };
}

test('adds up bytes, blobs and the rate of what moves', () => {
  const { told, clock, meter } = metered();
  meter.onTransfer(event('start', 0, 0));
  meter.onTransfer(event('start', 1, 500));
  clock.now += 1_000;
  meter.onTransfer(event('progress', 1, 1_500));
  expect(told.at(-1)).toEqual({
    blobs: 2,
    blobsDone: 0,
    transferredBytes: 1_500,
    totalBytes: 2_100,
    // what was there when it went on does not count
    bytesPerSecond: 1_000,
    remainingMs: 600,
  });
  meter.onTransfer(event('exists', 0, 100));
  meter.onTransfer(event('done', 1, 2_000));
  expect(told.at(-1)).toMatchObject({ blobsDone: 2, transferredBytes: 2_100, bytesPerSecond: 1_000 });
  clock.now += 10_000;
  expect(meter.totals()).toMatchObject({ bytesPerSecond: 0, remainingMs: undefined });
});

test('an upload that begins anew gives back what it had', () => {
  const { told, meter } = metered();
  meter.onTransfer(event('progress', 1, 1_000, 'push'));
  meter.onTransfer(event('retry', 1, 0, 'push'));
  expect(told.at(-1)).toMatchObject({ transferredBytes: 0, blobsDone: 0 });
});

test('tells at most once an interval, and always of the end', () => {
  const { told, clock, meter } = metered(200);
  for (let bytes = 0; bytes < 2_000; bytes += 10) {
    meter.onTransfer(event('progress', 1, bytes));
    clock.now += 1;
  }
  expect(told.length).toBe(1);
  meter.onTransfer(event('done', 1, 2_000));
  expect(told.length).toBe(2);
});

test('never tells more than there is, nor a rate below nothing', () => {
  const kind = fc.constantFrom<TransferEvent['kind']>(
    'start',
    'progress',
    'retry',
    'done',
    'exists',
    'mounted',
  );
  const step = fc.tuple(kind, fc.nat(2), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(3_000));
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const { told, clock, meter } = metered();
      for (const [what, blob, part, ms] of steps) {
        clock.now += ms;
        meter.onTransfer(event(what, blob, Math.floor(part * blobs[blob]!.size)));
      }
      for (const totals of told) {
        expect(totals.transferredBytes).toBeLessThanOrEqual(totals.totalBytes);
        expect(totals.blobsDone).toBeLessThanOrEqual(totals.blobs);
        expect(totals.bytesPerSecond).toBeGreaterThanOrEqual(0);
        expect(totals.remainingMs ?? 0).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});
