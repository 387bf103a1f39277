/** Blobs that are being written, for readers who do not wait for their end. */
import { openSync } from 'node:fs';
import { isMissing } from './ingest.ts';

/** A blob on its way into a content store. */
export interface ArrivingBlob {
  /** How many of its bytes, from the first on, are in the file. Checked is none of them. */
  readonly bytes: number;

  /** Whether those are all. They may still be wrong. */
  readonly whole: boolean;

  /**
   * Resolves when the blob is in the store, its size and digest verified. Rejects when this attempt to write it has
   * failed: whatever was read must be thrown away.
   */
  readonly arrived: Promise<void>;

  /** Calls `listener` whenever there are more bytes, until `signal` aborts. */
  onGrown(listener: () => void, signal: AbortSignal): void;

  /**
   * Opens its file for reading: a descriptor, which the caller closes, and which stays good whatever becomes of the file.
   *
   * @throws the system error `ENOENT` when it was given up; `arrived` rejects then
   */
  open(): number;
}

/** What is known of a blob before it is written. */
export interface Expectation {
  /** Where it will be. */
  target: string;
  sizeBytes: number;
  /** Called with the first bytes. */
  onBegin(): void;
}

/** The writer's side: it says where the bytes go, and how far they are. */
export class Arrival implements ArrivingBlob {
  readonly arrived: Promise<void>;
  readonly #expectation: Expectation;
  readonly #listeners = new Set<() => void>();
  #temporary: string | undefined;
  #bytes = 0;

  /** @param write - writes the blob */
  constructor(expectation: Expectation, write: (arrival: Arrival) => Promise<void>) {
    this.#expectation = expectation;
    this.arrived = write(this);
    // whoever writes hears of it too
    this.arrived.catch(() => undefined);
  }

  get bytes(): number {
    return this.#bytes;
  }

  get whole(): boolean {
    return this.#bytes === this.#expectation.sizeBytes;
  }

  /** The first `bytes` of the blob are in the file `temporary`. */
  grow(temporary: string, bytes: number): void {
    const begins = this.#bytes === 0 && bytes > 0;
    this.#temporary = temporary;
    this.#bytes = bytes;
    if (begins) this.#expectation.onBegin();
    for (const listener of this.#listeners) listener();
  }

  onGrown(listener: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }

  open(): number {
    const { target } = this.#expectation;
    try {
      return openSync(this.#temporary ?? target, 'r');
    } catch (error) {
      // it may have got its name this instant
      if (!isMissing(error)) throw error;
      return openSync(target, 'r');
    }
  }
}
