/** Blobs that are being written, for readers who do not wait for their end. */
import { openSync } from 'node:fs';
import { isMissing } from './ingest.ts';

/** A blob on its way into a content store. */
export interface ArrivingBlob {
  /** How many of its bytes, from the first on, are in the file. Checked is none of them. */
  readonly bytes: number;

  /**
   * Resolves when the blob is in the store, its size and digest verified. Rejects when this attempt to write it has
   * failed: whatever was read must be thrown away.
   */
  readonly arrived: Promise<void>;

  /** Calls `listener` with {@link ArrivingBlob.bytes} whenever there are more, until `signal` aborts. */
  onBytes(listener: (bytes: number) => void, signal: AbortSignal): void;

  /**
   * Opens its file for reading: a descriptor, which the caller closes, and which stays good whatever becomes of the file.
   *
   * @throws the system error `ENOENT` when it was given up; `arrived` rejects then
   */
  open(): number;
}

/** The writer's side: it says where the bytes go, and how far they are. */
export class Arrival implements ArrivingBlob {
  readonly arrived: Promise<void>;
  readonly #target: string;
  readonly #onBegin: () => void;
  readonly #listeners = new Set<(bytes: number) => void>();
  #temporary: string | undefined;
  #bytes = 0;

  /**
   * @param target - where the blob is in the end
   * @param write - writes it
   * @param onBegin - called with the first bytes
   */
  constructor(target: string, write: (arrival: Arrival) => Promise<void>, onBegin: () => void) {
    this.#target = target;
    this.#onBegin = onBegin;
    this.arrived = write(this);
    // whoever writes hears of it too
    this.arrived.catch(() => undefined);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The first `bytes` of the blob are in the file `temporary`. */
  grow(temporary: string, bytes: number): void {
    const begins = this.#bytes === 0 && bytes > 0;
    this.#temporary = temporary;
    this.#bytes = bytes;
    if (begins) this.#onBegin();
    for (const listener of this.#listeners) listener(bytes);
  }

  onBytes(listener: (bytes: number) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }

  open(): number {
    if (this.#temporary !== undefined) {
      try {
        return openSync(this.#temporary, 'r');
      } catch (error) {
        // it may have got its name this instant
        if (!isMissing(error)) throw error;
      }
    }
    return openSync(this.#target, 'r');
  }
}
