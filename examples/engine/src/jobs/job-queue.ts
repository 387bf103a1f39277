/** Every Job of the engine: starts them, lists them, cancels them, waits for them. */
import { conflict, notFound, unavailable } from '../errors.ts';
import { within } from './current.ts';
import { Job, type JobOptions, type JobRecord } from './job.ts';

/** How many ended Jobs are remembered, their steps among them. */
const HISTORY = 1024;

export type { JobRecord };

/** Told when a Job starts and when it has ended. */
export interface JobObserver {
  started?(job: JobRecord): void;
  ended?(job: JobRecord): void;
}

/** Runs the work of a Job, with something around it: a trace. */
export type JobAround = <T>(job: Job, work: () => Promise<T>) => Promise<T>;

/** Runs Jobs. Disposing of it refuses new ones, cancels what runs and waits for it. */
export class JobQueue implements AsyncDisposable {
  readonly #running = new Map<string, { job: Job; serial: number; done: Promise<void> }>();
  readonly #history: { record: JobRecord; serial: number }[] = [];
  readonly #observers: readonly JobObserver[];
  readonly #around: JobAround;
  /** Orders Jobs that start in the same millisecond: a step and what it is a step of. */
  #started = 0;
  #closed = false;

  constructor(options: { observers?: readonly JobObserver[]; around?: JobAround } = {}) {
    this.#observers = options.observers ?? [];
    this.#around = options.around ?? ((_job, work) => work());
  }

  /**
   * Runs `work` as a Job of `kind`; its result or error is passed on after the Job's cleanups.
   *
   * @throws {EngineError} `UNAVAILABLE` once the engine is shutting down
   */
  async run<T>(kind: string, work: (job: Job) => Promise<T> | T, options: JobOptions = {}): Promise<T> {
    if (this.#closed && !options.parent) throw unavailable('the engine is shutting down');
    const job = new Job(kind, options);
    const done = Promise.withResolvers<void>();
    const serial = this.#started++;
    this.#running.set(job.id, { job, serial, done: done.promise });
    for (const observer of this.#observers) observer.started?.(job.record());
    const below = <S>(step: string, stepWork: (job: Job) => Promise<S> | S): Promise<S> =>
      this.run(`${kind}.${step}`, stepWork, { parent: job, subject: job.record().subject });
    try {
      return await this.#around(job, () => within({ job, below }, () => job.execute(work)));
    } finally {
      this.#running.delete(job.id);
      const record = job.record();
      this.#history.push({ record, serial });
      if (this.#history.length > HISTORY) this.#history.shift();
      for (const observer of this.#observers) observer.ended?.(record);
      done.resolve();
    }
  }

  /** Running Jobs and the last ended ones, oldest first. */
  list(): JobRecord[] {
    const running = [...this.#running.values()].map(({ job, serial }) => ({ record: job.record(), serial }));
    return [...this.#history, ...running].toSorted((a, b) => a.serial - b.serial).map(({ record }) => record);
  }

  /** One Job, by id or by the unique beginning of one. @throws {EngineError} `NOT_FOUND`, `CONFLICT` */
  get(id: string): JobRecord {
    const found = this.list().filter((job) => id !== '' && job.id.startsWith(id));
    if (found.length === 0) throw notFound(`No such job: ${id}`);
    if (found.length > 1 && found[0]!.id !== id) throw conflict(`multiple jobs begin with ${id}`);
    return found[0]!;
  }

  /** Cancels a running Job and waits for its end. @throws {EngineError} `NOT_FOUND`; `CONFLICT` when it has ended */
  async cancel(id: string): Promise<JobRecord> {
    const record = this.get(id);
    const entry = this.#running.get(record.id);
    if (!entry) throw conflict(`job ${record.id} has already ended (${record.state})`);
    entry.job.cancel();
    await entry.done;
    return this.get(record.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const running = [...this.#running.values()];
    for (const { job } of running) job.cancel('the engine is shutting down');
    await Promise.all(running.map(({ done }) => done));
  }
}
