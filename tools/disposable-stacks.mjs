/**
 * `DisposableStack`, `AsyncDisposableStack` and `SuppressedError` for Node.js 22, which has the symbols of `using` but not
 * these. Builds of what runs there put them in where sources name the globals; those are taken where they are there.
 */

class OwnSuppressedError extends Error {
  constructor(error, suppressed, message) {
    super(message);
    Object.defineProperty(this, 'error', { value: error, writable: true, configurable: true });
    Object.defineProperty(this, 'suppressed', { value: suppressed, writable: true, configurable: true });
  }
}
Object.defineProperty(OwnSuppressedError.prototype, 'name', { value: 'SuppressedError', writable: true });
Object.defineProperty(OwnSuppressedError, 'name', { value: 'SuppressedError' });

/** What both stacks are: releases, the last one first. */
class Releases {
  #releases = [];
  #disposed = false;

  get disposed() {
    return this.#disposed;
  }

  adopt(value, release) {
    this.#add(release, () => release(value));
    return value;
  }

  defer(release) {
    this.#add(release, () => release());
  }

  move() {
    this.#check();
    const next = new this.constructor();
    next.#releases = this.#releases;
    this.#releases = [];
    this.#disposed = true;
    return next;
  }

  /** Releases a value by the method of the first symbol that it has one for. */
  _use(value, symbols) {
    this.#check();
    if (value === null || value === undefined) return value;
    const method = symbols
      .map((symbol) => value[symbol])
      .find((found) => found !== undefined && found !== null);
    this.#add(method, () => method.call(value));
    return value;
  }

  /** The releases that are left to do; afterwards there are none. */
  _take() {
    if (this.#disposed) return [];
    this.#disposed = true;
    const releases = this.#releases.reverse();
    this.#releases = [];
    return releases;
  }

  #add(release, action) {
    this.#check();
    if (typeof release !== 'function') throw new TypeError('there is nothing to release this by');
    this.#releases.push(action);
  }

  #check() {
    if (this.#disposed) throw new ReferenceError('the stack is disposed of');
  }
}

/** What one failed release after another makes of an error. */
function failure() {
  let failed = false;
  let first;
  return {
    add(error) {
      first = failed ? new SuppressedError(error, first, 'An error was suppressed during disposal') : error;
      failed = true;
    },
    raise() {
      if (failed) throw first;
    },
  };
}

class OwnDisposableStack extends Releases {
  use(value) {
    return this._use(value, [Symbol.dispose]);
  }

  dispose() {
    const errors = failure();
    for (const release of this._take()) {
      try {
        release();
      } catch (error) {
        errors.add(error);
      }
    }
    errors.raise();
  }

  [Symbol.dispose]() {
    this.dispose();
  }
}

class OwnAsyncDisposableStack extends Releases {
  use(value) {
    return this._use(value, [Symbol.asyncDispose, Symbol.dispose]);
  }

  async disposeAsync() {
    const errors = failure();
    for (const release of this._take()) {
      try {
        await release();
      } catch (error) {
        errors.add(error);
      }
    }
    errors.raise();
  }

  [Symbol.asyncDispose]() {
    return this.disposeAsync();
  }
}

export const SuppressedError = globalThis.SuppressedError ?? OwnSuppressedError;
export const DisposableStack = globalThis.DisposableStack ?? OwnDisposableStack;
export const AsyncDisposableStack = globalThis.AsyncDisposableStack ?? OwnAsyncDisposableStack;
