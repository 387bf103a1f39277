/** A build's progress as BuildKit tells it: vertexes of a graph, what moves in them and what they write. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { timestampNow, type Timestamp } from '@bufbuild/protobuf/wkt';
import { createHash } from 'node:crypto';

import type { LintWarning } from '../builder/dockerfile/lint.ts';
import { RunFailed } from '../builder/run-step.ts';
import type { BuildOutput, BuildStep, StepOutput } from '../builder/output.ts';
import { messageOf } from '../errors.ts';
import { StatusResponseSchema, type StatusResponse } from './gen/control_pb.ts';

type Status = MessageInitShape<typeof StatusResponseSchema>;

/** Shortest time between two words on how far one thing is: files of a context come by the thousand. */
const PROGRESS_MS = 100;

/** What is told of one build, from its begin, to anybody who asks. */
export class Progress implements BuildOutput {
  readonly #ref: string;
  readonly #told: Status[] = [];
  readonly #waiting = new Set<() => void>();
  #ended = false;
  #lastVertex = '';

  /** @param ref - the build's id */
  constructor(ref: string) {
    this.#ref = ref;
  }

  begin(step: BuildStep): StepOutput {
    // what changes the config alone is no vertex of BuildKit's
    if (step.kind === 'config') return SILENT;
    const digest = this.#digest(step.id);
    this.#lastVertex = digest;
    const inputs = step.inputs.map((input) => this.#digest(input));
    const started = timestampNow();
    const vertex = { digest, inputs, name: step.name, started };
    let cached = false;
    this.#tell({ vertexes: [vertex] });
    const begun = new Map<string, { first: Timestamp; toldAtMs: number }>();
    return {
      write: (data) =>
        // the buffer is the caller's again afterwards
        this.#tell({
          logs: [{ vertex: digest, timestamp: timestampNow(), stream: 1n, msg: Uint8Array.from(data) }],
        }),
      progress: (id, { current, total, done }) => {
        const nowMs = performance.now();
        const known = begun.get(id);
        if (known && !done && nowMs - known.toldAtMs < PROGRESS_MS) return;
        const now = timestampNow();
        const first = known?.first ?? now;
        begun.set(id, { first, toldAtMs: nowMs });
        this.#tell({
          statuses: [
            {
              id,
              vertex: digest,
              current: BigInt(current),
              total: BigInt(total ?? 0),
              timestamp: now,
              started: first,
              ...(done ? { completed: now } : {}),
            },
          ],
        });
      },
      say: () => undefined,
      cached: () => {
        cached = true;
      },
      made: () => undefined,
      end: (error) =>
        this.#tell({
          vertexes: [
            {
              ...vertex,
              cached,
              completed: timestampNow(),
              ...(error === undefined ? {} : { error: buildKitMessage(error) }),
            },
          ],
        }),
    };
  }

  warn(text: string, lint?: LintWarning): void {
    const about =
      lint === undefined ? {} : { url: lint.rule.url, detail: [Buffer.from(lint.rule.description)] };
    this.#tell({ warnings: [{ vertex: this.#lastVertex, level: 1n, short: Buffer.from(text), ...about }] });
  }

  /** Nothing more will be told. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Everything from the begin, then what comes, until the end. */
  async *follow(signal: AbortSignal): AsyncGenerator<StatusResponse> {
    let at = 0;
    let waiting: PromiseWithResolvers<void> | undefined;
    const wake = (): void => waiting?.resolve();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    using _waiting = {
      [Symbol.dispose]: () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
      },
    };
    for (;;) {
      signal.throwIfAborted();
      const news = this.#told.slice(at);
      at += news.length;
      if (news.length > 0) yield merged(news);
      if (at < this.#told.length) continue;
      if (this.#ended) return;
      waiting = Promise.withResolvers<void>();
      await waiting.promise;
    }
  }

  #digest(id: string): string {
    return `sha256:${createHash('sha256').update(`${this.#ref} ${id}`).digest('hex')}`;
  }

  #tell(status: Status): void {
    this.#told.push(status);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }
}

const SILENT: StepOutput = {
  write: () => undefined,
  progress: () => undefined,
  say: () => undefined,
  cached: () => undefined,
  made: () => undefined,
  end: () => undefined,
};

function merged(news: readonly Status[]): StatusResponse {
  return create(StatusResponseSchema, {
    vertexes: news.flatMap(({ vertexes = [] }) => vertexes),
    statuses: news.flatMap(({ statuses = [] }) => statuses),
    logs: news.flatMap(({ logs = [] }) => logs),
    warnings: news.flatMap(({ warnings = [] }) => warnings),
  });
}

/** An error in BuildKit's words. */
export function buildKitMessage(error: unknown): string {
  if (!(error instanceof RunFailed)) return messageOf(error);
  const command = JSON.stringify(error.commandLine);
  return `process ${command} did not complete successfully: exit code: ${error.exitCode}`;
}
