/** Adds up the events of single blobs: how much of everything has moved, how fast, and how long it will take. */
import type { OnTransfer, TransferEvent } from './progress.ts';

/** Everything that was begun so far, taken together. */
export interface TransferTotals {
  /** Blobs told of. */
  blobs: number;
  /** Of those, the ones that have arrived or were there. */
  blobsDone: number;
  transferredBytes: number;
  totalBytes: number;
  /** Over the last seconds; bytes that were there already do not count. */
  bytesPerSecond: number;
  /** Until all is through at this rate, in milliseconds; undefined while nothing moves. */
  remainingMs: number | undefined;
}

/** Options of a {@link TransferMeter}. */
export interface TransferMeterOptions {
  /** Least time between two calls, in milliseconds; the last blob's end is always told. Default 200. */
  intervalMs?: number;
  /** The clock, in milliseconds. Default `performance.now`. */
  now?: () => number;
}

/** The rate is that of so many milliseconds. */
const WINDOW_MS = 5_000;

/**
 * Turns the events of any number of blobs, of one repository or several, into totals. Give its `onTransfer` to the
 * repositories.
 */
export class TransferMeter {
  readonly #onTotals: (totals: TransferTotals) => void;
  readonly #intervalMs: number;
  readonly #now: () => number;
  readonly #blobs = new Map<string, { bytes: number; size: number; done: boolean }>();
  /** What moved when, within the window. */
  readonly #moved: { at: number; bytes: number }[] = [];
  #began: number | undefined;
  #told = -Infinity;

  constructor(onTotals: (totals: TransferTotals) => void, options: TransferMeterOptions = {}) {
    this.#onTotals = onTotals;
    this.#intervalMs = options.intervalMs ?? 200;
    this.#now = options.now ?? (() => performance.now());
  }

  readonly onTransfer: OnTransfer = (event) => {
    const now = this.#now();
    this.#began ??= now;
    this.#count(event, now);
    const totals = this.totals();
    if (now - this.#told < this.#intervalMs && totals.blobsDone < totals.blobs) return;
    this.#told = now;
    this.#onTotals(totals);
  };

  /** As of now. */
  totals(): TransferTotals {
    const now = this.#now();
    while (this.#moved.length > 0 && this.#moved[0]!.at < now - WINDOW_MS) this.#moved.shift();
    const blobs = [...this.#blobs.values()];
    const transferredBytes = blobs.reduce((sum, { bytes }) => sum + bytes, 0);
    const totalBytes = blobs.reduce((sum, { size }) => sum + size, 0);
    const spanMs = Math.min(WINDOW_MS, now - (this.#began ?? now));
    const moved = this.#moved.reduce((sum, { bytes }) => sum + bytes, 0);
    const bytesPerSecond = spanMs > 0 ? (moved / spanMs) * 1_000 : 0;
    return {
      blobs: blobs.length,
      blobsDone: blobs.filter(({ done }) => done).length,
      transferredBytes,
      totalBytes,
      bytesPerSecond,
      remainingMs:
        bytesPerSecond > 0 ? ((totalBytes - transferredBytes) / bytesPerSecond) * 1_000 : undefined,
    };
  }

  #count({ kind, direction, descriptor, transferredBytes }: TransferEvent, at: number): void {
    // a copy between registries both pulls and pushes a blob
    const key = `${direction} ${descriptor.digest}`;
    const blob = this.#blobs.get(key) ?? { bytes: 0, size: descriptor.size, done: false };
    this.#blobs.set(key, blob);
    const bytes = transferredBytes - blob.bytes;
    // only what has just come over the line: not where a download went on, nor what was never sent
    if (kind === 'progress' && bytes > 0) this.#moved.push({ at, bytes });
    blob.bytes = transferredBytes;
    blob.done = kind === 'done' || kind === 'exists' || kind === 'mounted';
  }
}
