/** Threads that unpack layers: started when they are needed, one layer at a time each, gone when nothing has come for a while. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { AppliedLayer } from '../apply.ts';
import type { ArrivingBlob } from '../content/arriving.ts';
import { LayerStoreError } from '../errors.ts';
import type { PlainError, Reply, Request, UnpackJob } from './protocol.ts';

/** How layers are unpacked beside the calling thread. */
export interface UnpackWorkerOptions {
  /** A module that calls `serveUnpacking` of `@tare/layer-store/worker`. */
  program: URL;
  /**
   * Most threads, of which one is kept for blobs that are whole: with a single one, nothing is unpacked while it arrives.
   * Default: as many as there are processors, at least 2, and at most 4: more would only wait for the disk.
   */
  count?: number;
  /** A thread that had nothing to do for so long ends. Default 5,000: it holds some 10 MB. */
  idleMs?: number;
}

interface Thread {
  worker: Worker;
  idle: NodeJS.Timeout | undefined;
}

/** A job's place on a thread, taken or waited for. */
interface Place {
  /** Whether the job may have to wait for bytes. */
  slow: boolean;
  start(thread: Thread): void;
}

/** A pool. Dispose of it when its jobs are done. */
export class UnpackWorkers implements AsyncDisposable {
  readonly #options: Required<UnpackWorkerOptions>;
  readonly #idle: Thread[] = [];
  readonly #all = new Set<Thread>();
  /** In order of arrival. */
  readonly #waiting: Place[] = [];
  readonly #running = new Set<Place>();

  constructor(options: UnpackWorkerOptions) {
    this.#options = { count: Math.min(Math.max(availableParallelism(), 2), 4), idleMs: 5_000, ...options };
  }

  /**
   * Unpacks one layer on a thread; as `applyLayer`.
   *
   * @param arriving - the blob, when the job's file is still growing
   * @throws {LayerStoreError} as `applyLayer`; `IO_ERROR` when the thread ends
   */
  async apply(
    job: UnpackJob,
    arriving: ArrivingBlob | undefined,
    signal: AbortSignal,
    onProgress: (bytesRead: number) => void,
  ): Promise<AppliedLayer> {
    const started = Promise.withResolvers<Thread>();
    const place: Place = { slow: arriving !== undefined, start: started.resolve };
    const whole = (): void => {
      place.slow = false;
      this.#assign();
    };
    arriving?.arrived.then(whole, whole);
    const thread = await this.#wait(place, started, signal);
    try {
      signal.throwIfAborted();
      return await run(thread.worker, job, arriving, signal, onProgress);
    } finally {
      this.#running.delete(place);
      this.#giveBack(thread);
      this.#assign();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((thread) => this.#end(thread)));
  }

  async #wait(place: Place, started: PromiseWithResolvers<Thread>, signal: AbortSignal): Promise<Thread> {
    const leave = (): void => {
      const at = this.#waiting.indexOf(place);
      if (at >= 0) this.#waiting.splice(at, 1);
      started.reject(signal.reason);
    };
    this.#waiting.push(place);
    this.#assign();
    signal.addEventListener('abort', leave);
    try {
      return await started.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  /** Gives free threads to those who wait. Blobs on their way leave one: they might take hours. */
  #assign(): void {
    const { count } = this.#options;
    for (const place of this.#waiting.slice()) {
      if (this.#running.size >= count) return;
      const slow = [...this.#running].filter((running) => running.slow).length;
      if (place.slow && slow >= count - 1) continue;
      this.#waiting.splice(this.#waiting.indexOf(place), 1);
      this.#running.add(place);
      place.start(this.#take());
    }
  }

  #take(): Thread {
    const idle = this.#idle.pop();
    if (idle === undefined) return this.#start();
    clearTimeout(idle.idle);
    idle.worker.ref();
    return idle;
  }

  #start(): Thread {
    const { program } = this.#options;
    const worker = new Worker(program, {
      // run from sources, packages lead to each other's sources
      ...(program.pathname.endsWith('.ts') && { execArgv: ['--conditions=@tare/source'] }),
      // its descriptors are closed by their owners, through calls that Node.js does not see open them
      trackUnmanagedFds: false,
      // the chunks it handles live outside of the heap; a small young generation keeps it from growing idly
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    // heard by the job that runs; without one it only means that the thread is gone
    worker.on('error', () => undefined);
    const thread: Thread = { worker, idle: undefined };
    worker.once('exit', () => this.#forget(thread));
    this.#all.add(thread);
    return thread;
  }

  #giveBack(thread: Thread): void {
    if (!this.#all.has(thread)) return;
    // what waits for work keeps no process alive
    thread.worker.unref();
    thread.idle = setTimeout(() => void this.#end(thread), this.#options.idleMs).unref();
    this.#idle.push(thread);
  }

  async #end(thread: Thread): Promise<void> {
    this.#forget(thread);
    await thread.worker.terminate();
  }

  #forget(thread: Thread): void {
    clearTimeout(thread.idle);
    this.#all.delete(thread);
    const at = this.#idle.indexOf(thread);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

function run(
  worker: Worker,
  job: UnpackJob,
  arriving: ArrivingBlob | undefined,
  signal: AbortSignal,
  onProgress: (bytesRead: number) => void,
): Promise<AppliedLayer> {
  const { promise, resolve, reject } = Promise.withResolvers<AppliedLayer>();
  const ended = new AbortController();
  const send = (request: Request): void => worker.postMessage(request, []);
  // it answers when it has stopped: until then it may still write
  const onAbort = (): void => send({ kind: 'abort' });
  const onMessage = (reply: Reply): void => {
    if (reply.kind === 'progress') onProgress(reply.bytesRead);
    else if (reply.kind === 'done') resolve(reply.applied);
    else reject(signal.aborted ? (signal.reason as Error) : toError(reply.error));
  };
  let crash: unknown;
  const onError = (error: unknown): void => void (crash = error);
  const onExit = (): void =>
    reject(new LayerStoreError('IO_ERROR', 'the thread that unpacked a layer has ended', { cause: crash }));
  signal.addEventListener('abort', onAbort, { signal: ended.signal });
  worker.on('message', onMessage);
  worker.on('error', onError);
  worker.on('exit', onExit);
  send({ kind: 'unpack', job });
  if (arriving !== undefined) {
    const onGrown = (): void => send({ kind: 'grown', bytes: arriving.bytes, whole: arriving.whole });
    onGrown();
    arriving.onGrown(onGrown, ended.signal);
  }
  return promise.finally(() => {
    ended.abort();
    worker.off('message', onMessage);
    worker.off('error', onError);
    worker.off('exit', onExit);
  });
}

function toError({ code, message, entry, cause }: PlainError): Error {
  const error = cause === undefined ? undefined : Object.assign(new Error(), cause);
  if (code === undefined) return new LayerStoreError('IO_ERROR', message, { cause: error });
  return new LayerStoreError(code, message, {
    ...(entry !== undefined && { entry }),
    ...(error !== undefined && { cause: error }),
  });
}
