/** The Job that the code being run belongs to: what it does in steps becomes Jobs below it. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Job } from './job.ts';

interface Current {
  job: Job;
  /** Runs a Job below this one. */
  below<T>(kind: string, work: (job: Job) => Promise<T> | T): Promise<T>;
}

const storage = new AsyncLocalStorage<Current>();

/** Runs `work`, and all that it calls, as part of a Job. For `JobQueue` alone. */
export function within<T>(current: Current, work: () => T): T {
  return storage.run(current, work);
}

/**
 * One step of the Job that this code is part of: a Job of its own below it, with its time and its error. Outside a Job
 * it is just done.
 *
 * @param kind - what is done, for example `'network'`
 */
export function step<T>(kind: string, work: () => Promise<T>): Promise<T> {
  const current = storage.getStore();
  // what a Job has begun may go on after it: watching a container, for one
  return current && current.job.record().state === 'running' ? current.below(kind, work) : work();
}
