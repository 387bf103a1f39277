/** Several steps at once, none left running when one fails. */

/**
 * Waits for every step, then throws what the first failed one threw. Unlike `Promise.all` nothing goes on in the
 * background afterwards, so that the caller can undo what was done.
 */
export async function allSettled<T extends readonly unknown[] | []>(
  steps: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(steps);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as {
    -readonly [K in keyof T]: Awaited<T[K]>;
  };
}

/**
 * Runs every step in order whatever the ones before did; throws what failed, together.
 *
 * @throws the only failure, or an AggregateError
 */
export async function runAll(steps: readonly (() => Promise<unknown> | unknown)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1)
    throw new AggregateError(errors, errors.map((error) => (error as Error).message).join('; '));
}
