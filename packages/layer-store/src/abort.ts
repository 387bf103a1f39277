/** Waiting that an AbortSignal can end. */

/** `work`, or a rejection with `signal.reason` as soon as that is aborted. What `work` does then goes unheard. */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([aborted.promise, work]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * Iterates `source`, but rejects with `signal.reason` at once when aborted, even while the source is silent.
 *
 * An aborted source is told to stop (`return()`), not waited for: a stalled one might never answer.
 */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  if (signal === undefined) {
    yield* source;
    return;
  }
  const iterator = source[Symbol.asyncIterator]();
  let stop = true;
  try {
    for (;;) {
      signal.throwIfAborted();
      const result = await raceAbort(iterator.next(), signal);
      if (result.done === true) {
        stop = false;
        return;
      }
      yield result.value;
    }
  } catch (error) {
    // a source that threw is finished by itself; only an aborted one still runs
    stop = signal.aborted;
    throw error;
  } finally {
    if (stop) {
      const stopped = iterator.return?.();
      // what an aborted source complains about afterwards has no one left to hear it
      if (signal.aborted) stopped?.catch(() => undefined);
      else await stopped;
    }
  }
}
