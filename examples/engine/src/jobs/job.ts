/** A Job: one piece of the engine's work, from the request to its last cleanup. */
import { randomBytes } from 'node:crypto';
import { EngineError, messageOf } from '../errors.ts';

export type JobState = 'running' | 'succeeded' | 'failed' | 'cancelled';

/** How far a Job is. Bytes unless the kind of Job says otherwise; `total` is undefined when unknown. */
export interface JobProgress {
  message?: string;
  current?: number;
  total?: number;
}

/** What a Job is started with. */
export interface JobOptions {
  /** What the Job works on: an image reference, a container id. */
  subject?: string | undefined;
  /** The Job that asked for this one; cancelling it cancels this one. */
  parent?: Job;
  /** Aborting it cancels the Job. */
  signal?: AbortSignal;
}

/** A Job as others see it, also after its end. */
export interface JobRecord {
  id: string;
  kind: string;
  subject: string | undefined;
  state: JobState;
  progress: JobProgress | undefined;
  parentId: string | undefined;
  startedAt: Date;
  finishedAt: Date | undefined;
  error: string | undefined;
}

type Cleanup = () => Promise<void> | void;

/** Cleanups that failed, with whatever made the Job fail, first. */
function withCleanupErrors(error: unknown, errors: unknown[]): unknown {
  if (errors.length === 0) return error;
  return error === undefined
    ? new AggregateError(errors, `cleanup failed: ${errors.map(messageOf).join('; ')}`)
    : new AggregateError([error, ...errors], messageOf(error), { cause: error });
}

/**
 * One piece of work, while it runs. The code that does the work reports progress, passes `signal` down and registers
 * its cleanups; `JobQueue.run` starts and ends it.
 */
export class Job {
  readonly id: string = randomBytes(16).toString('hex');
  readonly kind: string;
  readonly parent: Job | undefined;
  /** Aborts when the Job is cancelled; its reason is an {@link EngineError} `CANCELLED`. */
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #startedAt = new Date();
  readonly #cleanups: { when: 'always' | 'failure'; run: Cleanup }[] = [];
  #subject: string | undefined;
  #state: JobState = 'running';
  #progress: JobProgress | undefined;
  #finishedAt: Date | undefined;
  #error: string | undefined;

  constructor(kind: string, options: JobOptions = {}) {
    this.kind = kind;
    this.parent = options.parent;
    this.#subject = options.subject;
    const sources = [this.#controller.signal];
    if (options.parent) sources.push(options.parent.signal);
    if (options.signal) sources.push(options.signal);
    this.signal = sources.length === 1 ? sources[0]! : AbortSignal.any(sources);
  }

  /** Names what the Job works on, once that is known. */
  about(subject: string): void {
    this.#subject = subject;
  }

  /** Reports how far the Job is. */
  report(progress: JobProgress): void {
    this.#progress = progress;
  }

  /** Registers work to be done when the Job has ended, however it ended. Runs once, in reverse order. */
  onEnd(cleanup: Cleanup): void {
    this.#cleanups.push({ when: 'always', run: cleanup });
  }

  /** Registers the undoing of a step, done when the Job fails or is cancelled. Runs once, in reverse order. */
  onFailure(undo: Cleanup): void {
    this.#cleanups.push({ when: 'failure', run: undo });
  }

  /** Asks the Job to stop. It ends when its work has noticed; after the end this does nothing. */
  cancel(reason = `job ${this.id} (${this.kind}) was cancelled`): void {
    if (this.#state === 'running') this.#controller.abort(new EngineError('CANCELLED', reason));
  }

  /** A snapshot of the Job. */
  record(): JobRecord {
    return {
      id: this.id,
      kind: this.kind,
      subject: this.#subject,
      state: this.#state,
      progress: this.#progress,
      parentId: this.parent?.id,
      startedAt: this.#startedAt,
      finishedAt: this.#finishedAt,
      error: this.#error,
    };
  }

  /**
   * Does the work and then the cleanups. Called once, by the queue.
   *
   * @throws what the work threw; failures of cleanups are added, never instead of it
   */
  async execute<T>(work: (job: Job) => Promise<T> | T): Promise<T> {
    let result: T | undefined;
    let failure: unknown;
    let failed = false;
    try {
      this.signal.throwIfAborted();
      result = await work(this);
    } catch (error) {
      failed = true;
      failure = error;
    }
    const cleanupErrors: unknown[] = [];
    for (const cleanup of this.#cleanups.splice(0).reverse()) {
      if (cleanup.when === 'failure' && !failed) continue;
      try {
        await cleanup.run();
      } catch (error) {
        cleanupErrors.push(error);
      }
    }
    this.#finishedAt = new Date();
    if (!failed && cleanupErrors.length === 0) {
      this.#state = 'succeeded';
      return result as T;
    }
    this.#state = failed && this.signal.aborted ? 'cancelled' : 'failed';
    const error = withCleanupErrors(failure, cleanupErrors);
    this.#error = messageOf(error);
    // the client is told what went wrong first; the aggregate is for the log
    throw failed && failure instanceof EngineError ? failure : error;
  }
}
