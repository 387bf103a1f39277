/** A counting semaphore: so many at once, the rest in order of arrival. */

/** Lets at most `limit` holders in at the same time. */
export class Limiter {
  #limit: number;
  /** Negative while more are in than a lowered limit allows. */
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
    this.#free = limit;
  }

  /** Changes the limit. Those who are in stay; those who wait come in as far as there is room now. */
  resize(limit: number): void {
    this.#free += limit - this.#limit;
    this.#limit = limit;
    while (this.#free > 0 && this.#waiting.length > 0) {
      this.#free -= 1;
      this.#waiting.shift()!();
    }
  }

  /** Whether the next {@link Limiter.acquire} would have to wait. */
  get busy(): boolean {
    return this.#free <= 0;
  }

  /** Waits for a place; disposing of the result gives it back. Rejects with `signal.reason` when that aborts first. */
  async acquire(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const next = this.#free >= 0 ? this.#waiting.shift() : undefined;
        if (next) next();
        else this.#free += 1;
      },
    };
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(resolve), 1);
      reject(signal?.reason as Error);
    };
    this.#waiting.push(resolve);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }
}
