/** The order of operations: one after the other, apart from all others, many in one, taken back when a later one fails. */

/** Runs operations: one at a time per key, or one at a time altogether. */
export class OperationOrder {
  readonly #tails = new Map<string, Promise<void>>();
  #exclusive: Promise<void> = Promise.resolve();

  /** Runs after every earlier operation on the same key and after every earlier exclusive one. */
  async run<T>(key: string, operation: () => Promise<T>): Promise<T> {
    const before = Promise.all([this.#exclusive, this.#tails.get(key)]);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    await before;
    try {
      return await operation();
    } finally {
      resolve();
      if (this.#tails.get(key) === promise) this.#tails.delete(key);
    }
  }

  /** Runs after every earlier operation, and before every later one. */
  async exclusively<T>(operation: () => Promise<T>): Promise<T> {
    const before = Promise.all([this.#exclusive, ...this.#tails.values()]);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#exclusive = promise;
    await before;
    try {
      return await operation();
    } finally {
      resolve();
    }
  }
}

/** One operation for many: what is asked for while a turn is under way waits, and is done together in the next one. */
export class Gathering<T> {
  readonly #run: (items: T[]) => Promise<void>;
  #waiting: T[] = [];
  #next: Promise<void> | undefined;
  #last: Promise<void> = Promise.resolve();

  /** @param run does one turn; its failure is that of everybody in it */
  constructor(run: (items: T[]) => Promise<void>) {
    this.#run = run;
  }

  /** Resolves once these are done. */
  add(items: readonly T[]): Promise<void> {
    this.#waiting.push(...items);
    if (this.#next) return this.#next;
    const turn = this.#last.then(() => {
      this.#next = undefined;
      return this.#run(this.#waiting.splice(0));
    });
    this.#next = turn;
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/**
 * Steps to take back when a later one fails. Each runs whatever became of the others, the newest first.
 */
export class Rollback {
  readonly #steps: (() => void | Promise<void>)[] = [];

  /** Remembers how to take back what is about to be, or was just, done. */
  defer(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Takes everything back and returns the error to throw: `cause`, with whatever else went wrong meanwhile. */
  async run(cause: unknown): Promise<unknown> {
    const errors: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 0) return cause;
    return new AggregateError([cause, ...errors], `${String(cause)}; taking it back failed too`, { cause });
  }
}

/** Waits for all, also when one fails: nothing may go on behind a rollback. */
export async function settleAll(what: string, work: readonly Promise<unknown>[]): Promise<void> {
  const errors = (await Promise.allSettled(work)).flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `${what} failed: ${errors.map(String).join('; ')}`);
}
