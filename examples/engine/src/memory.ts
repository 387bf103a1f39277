/** Lets an engine that is busy have memory, and gives it back afterwards. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** An engine that nothing was asked of for so long is left alone for a while, mostly. */
const QUIET_MS = 5_000;

/** Less than this is not worth the tenth of a second that it takes. */
const WORTH_BYTES = 8 * 1024 * 1024;

/**
 * How much the heap may grow, in percent, before it is collected again. Left to itself V8 lets a heap that was just made small
 * grow by a few megabytes at a time, and counts the buffers of everything that passes through: a build after a quiet moment
 * was collected fifteen times, which took a fifth of it.
 */
const GROWTH_PERCENT = 200;

type CollectGarbage = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

/** Waits for a quiet moment after things have happened. Dispose of it at the end. */
export class MemoryKeeper implements Disposable {
  readonly #trim: () => void;
  readonly #timer: NodeJS.Timeout;
  #collect: CollectGarbage | undefined;
  /** What this process took after the last time. */
  #settledBytes = 0;

  /** @param trim - gives back what V8 does not manage */
  constructor(trim: () => void) {
    this.#trim = trim;
    setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
    this.#timer = setTimeout(() => this.#settle(), QUIET_MS).unref();
  }

  /** Something is asked of the engine: the quiet begins anew. */
  stir(): void {
    this.#timer.refresh();
  }

  #settle(): void {
    if (process.memoryUsage.rss() - this.#settledBytes < WORTH_BYTES) return;
    this.#collect ??= exposed();
    // compiled code stays: whoever comes next must not wait for it to be made again
    setFlagsFromString('--no-flush-bytecode');
    // an ordinary collection keeps the pages it has emptied
    this.#collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    setFlagsFromString('--flush-bytecode');
    this.#trim();
    this.#settledBytes = process.memoryUsage.rss();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** The collector, which V8 only shows to contexts that are made while it is told to. */
function exposed(): CollectGarbage {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as CollectGarbage;
  setFlagsFromString('--no-expose-gc');
  return collect;
}
