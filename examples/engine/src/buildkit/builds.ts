/** Builds under way, by the id that their client gave them: what Control and LLBBridge share. */
import { Code, ConnectError } from '@connectrpc/connect';
import { randomBytes } from 'node:crypto';

import { solverParts, type BuildParts } from '../builder/in-engine/parts.ts';
import { imageBases } from '../builder/in-engine/bases.ts';
import type { BuildOutput } from '../builder/output.ts';
import type { Entitlement } from '../builder/request.ts';
import type { SharedResults } from '../builder/results.ts';
import { solve, type Solved } from '../builder/solve.ts';
import { DockerfileError } from '../builder/dockerfile/errors.ts';
import { RunFailed } from '../builder/run-step.ts';
import type { Job } from '../jobs/job.ts';
import { readFrontendOptions, type FrontendOptions, type FrontendRequest } from './frontend.ts';
import { outputOf } from './platform-output.ts';
import { sourceDetail } from './error-details.ts';
import { buildKitMessage, Progress } from './progress.ts';
import type { Session, Sessions } from './sessions.ts';
import { answerSubrequest } from './subrequests.ts';

/** Ended builds whose progress can still be asked for. */
const REMEMBERED = 16;
/** Clients ask for a build's progress, and solve in it, while they start it. */
const PATIENCE_MS = 5_000;

/** What a build is made of. */
interface ActiveBuildOptions {
  /** The client's id of it. */
  ref: string;
  parts: BuildParts;
  job: Job;
  session: () => Promise<Session>;
  entitlements: readonly Entitlement[];
}

/** What a build has made, by the ids that its client knows it under. */
export interface BuildResult {
  /** Of several platforms: one for each. */
  ids: readonly string[];
  /** Whether it is an index of images, even if there is only one. */
  byPlatform: boolean;
}

/** One build. */
export class ActiveBuild {
  readonly ref: string;
  readonly progress: Progress;
  /** The result that the client chose; undefined for none. */
  readonly returned = Promise.withResolvers<BuildResult | undefined>();
  readonly #parts: BuildParts;
  readonly #job: Job;
  readonly #session: () => Promise<Session>;
  readonly #entitlements: readonly Entitlement[];
  readonly #held = new AsyncDisposableStack();
  readonly #results = new Map<string, Solved>();
  #failure: ConnectError | undefined;

  constructor(options: ActiveBuildOptions) {
    this.ref = options.ref;
    this.progress = new Progress(options.ref);
    this.#parts = options.parts;
    this.#job = options.job;
    this.#session = options.session;
    this.#entitlements = options.entitlements;
    // nobody may be waiting when the client returns an error
    this.returned.promise.catch(() => undefined);
  }

  get signal(): AbortSignal {
    return this.#job.signal;
  }

  session(): Promise<Session> {
    return this.#session();
  }

  /** Answers a question about a Dockerfile. @returns what clients find the answer under */
  ask(frontend: string, options: FrontendOptions): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
    return answerSubrequest(options['requestid'] ?? '', async () => ({
      bases: imageBases(this.#parts),
      request: (await this.#read(frontend, options)).requests[0],
      filename: options['filename'] ?? 'Dockerfile',
    }));
  }

  async #read(frontend: string, options: FrontendOptions): Promise<FrontendRequest> {
    if (frontend !== 'dockerfile.v0') {
      throw new ConnectError(
        frontend === ''
          ? 'graphs of low-level operations are not built: only Dockerfiles are'
          : `the frontend ${frontend} is not built in: dockerfile.v0 is`,
        Code.Unimplemented,
      );
    }
    return readFrontendOptions(options, {
      parts: this.#parts,
      session: await this.#session(),
      output: this.progress,
      signal: this.signal,
      held: this.#held,
      entitlements: this.#entitlements,
    });
  }

  /** Builds what `dockerfile.v0` is asked for, for all platforms beside each other. */
  async solve(frontend: string, options: FrontendOptions): Promise<BuildResult> {
    const { requests, byPlatform } = await this.#read(frontend, options);
    const file = { name: options['filename'] ?? 'Dockerfile', text: requests[0].dockerfile };
    const shared: SharedResults = new Map();
    const stop = new AbortController();
    const signal = AbortSignal.any([this.signal, stop.signal]);
    const told = new Set<string>();
    let failure: ConnectError | undefined;
    const solving = requests.map(async (request) => {
      const output = outputOf(this.progress, byPlatform ? request.platform : undefined, told);
      const id = `${this.#job.id} ${randomBytes(4).toString('hex')}`;
      try {
        const parts = solverParts(this.#parts, this.#job);
        return this.#held.use(await solve(parts, request, { output, id, shared, signal }));
      } catch (error) {
        // of several, the first that fails is told
        failure ??= toConnectError(error, file);
        stop.abort(error);
        throw error;
      }
    });
    const results = await Promise.allSettled(solving);
    if (failure) {
      this.#failure = failure;
      throw failure;
    }
    const solved = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const [{ unusedArgs }] = solved as [Solved];
    warnOfUnusedArgs(this.progress, unusedArgs);
    const ids = solved.map((one) => {
      const id = randomBytes(16).toString('hex');
      this.#results.set(id, one);
      return id;
    });
    return { ids, byPlatform };
  }

  /** What the client says has failed: our own error, where it hands that back, with all that belongs to it. */
  fail(message: string, code: Code): void {
    const own = this.#failure && message.includes(this.#failure.rawMessage) ? this.#failure : undefined;
    this.returned.reject(own ?? new ConnectError(message, code));
  }

  /** @throws {ConnectError} `NotFound` */
  result(id: string): Solved {
    const found = this.#results.get(id);
    if (!found) throw new ConnectError(`no such result: ${id}`, Code.NotFound);
    return found;
  }

  /** Lets go of all results and files. */
  async end(): Promise<void> {
    await this.#held.disposeAsync();
    this.progress.end();
  }
}

/** Arguments that no instruction has declared are most often mistyped. */
export function warnOfUnusedArgs(output: BuildOutput, unusedArgs: readonly string[]): void {
  if (unusedArgs.length === 0) return;
  output.warn(`one or more build-args [${unusedArgs.join(' ')}] were not consumed`);
}

/** All builds. */
export class Builds {
  readonly #parts: BuildParts;
  readonly #sessions: Sessions;
  readonly #builds = new Map<string, ActiveBuild>();
  readonly #progress = new Map<string, Progress>();
  readonly #waiting = new Set<() => void>();

  constructor(parts: BuildParts, sessions: Sessions) {
    this.#parts = parts;
    this.#sessions = sessions;
  }

  /** Does `work` as a build. Errors become those of gRPC. */
  async run<T>(
    {
      ref,
      session,
      entitlements,
      signal,
    }: { ref: string; session: string; entitlements: readonly Entitlement[]; signal: AbortSignal },
    work: (build: ActiveBuild) => Promise<T>,
  ): Promise<T> {
    if (this.#builds.has(ref)) {
      throw new ConnectError(`a build with the id ${ref} is under way already`, Code.AlreadyExists);
    }
    return this.#parts.jobs.run(
      'image.build',
      async (job) => {
        const find = (): Promise<Session> => this.#sessions.get(session, job.signal);
        const build = new ActiveBuild({ ref, parts: this.#parts, job, session: find, entitlements });
        this.#builds.set(ref, build);
        this.#remember(ref, build.progress);
        for (const wake of this.#waiting) wake();
        try {
          return await work(build);
        } catch (error) {
          throw toConnectError(error);
        } finally {
          this.#builds.delete(ref);
          await build.end();
        }
      },
      { signal, subject: ref },
    );
  }

  /** The build, waited for if need be. @throws {ConnectError} `NotFound` */
  get(ref: string, signal: AbortSignal): Promise<ActiveBuild> {
    return this.#await(ref, () => this.#builds.get(ref), signal);
  }

  /** What is told of a build, also shortly after its end. @throws {ConnectError} `NotFound` */
  progress(ref: string, signal: AbortSignal): Promise<Progress> {
    return this.#await(ref, () => this.#progress.get(ref), signal);
  }

  #remember(ref: string, progress: Progress): void {
    this.#progress.set(ref, progress);
    const [oldest] = this.#progress.keys();
    if (this.#progress.size > REMEMBERED && oldest !== undefined) this.#progress.delete(oldest);
  }

  async #await<T>(ref: string, find: () => T | undefined, signal: AbortSignal): Promise<T> {
    const given = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (given.aborted) throw new ConnectError(`no such build: ${ref}`, Code.NotFound);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      given.addEventListener('abort', () => resolve(), { once: true });
      await promise;
      this.#waiting.delete(resolve);
    }
  }
}

/** An error in gRPC's form: clients show the message, and with `file` the lines that it is about. */
export function toConnectError(error: unknown, file?: { name: string; text: string }): ConnectError {
  if (error instanceof ConnectError) return error;
  const place = error instanceof DockerfileError || error instanceof RunFailed ? error.place : undefined;
  const details = place && file ? [sourceDetail(place, file)] : [];
  const connectError = new ConnectError(buildKitMessage(error), Code.Unknown, undefined, undefined, error);
  connectError.details.push(...details);
  return connectError;
}
