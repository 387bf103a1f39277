/** Commands that do the same to every argument: names printed as they succeed, failures gathered to the end. */
import type { Cli } from './cli.ts';
import { ManyErrors } from './errors.ts';

/** Unlike a host's memory, requests in flight are cheap; the daemon serialises what must be. */
const parallelRequests = 50;

/**
 * Runs `work` for every name, `parallel` at a time, and prints what it returns in the order of the names.
 *
 * @throws {ManyErrors} when any failed, after all have run
 */
export async function forEach(
  cli: Cli,
  names: readonly string[],
  work: (name: string) => Promise<string | void>,
  options: { parallel?: boolean } = {},
): Promise<void> {
  const failures: unknown[] = [];
  const step = options.parallel ? parallelRequests : 1;
  for (let at = 0; at < names.length; at += step) {
    const batch = names.slice(at, at + step);
    for (const result of await Promise.allSettled(batch.map((name) => work(name)))) {
      if (result.status === 'rejected') failures.push(result.reason);
      else if (result.value !== undefined) cli.print(result.value);
    }
  }
  if (failures.length > 0) throw new ManyErrors(failures);
}
