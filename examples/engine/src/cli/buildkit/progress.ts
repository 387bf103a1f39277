/** A build's progress as the daemon tells it, brought into order: steps with numbers, what moves in them, what they say. Pure. */
/** A time of protobuf's; large integers may come as numbers. */
interface Time {
  seconds: bigint | number;
  nanos: number;
}

/** A message on progress: as much of BuildKit's StatusResponse as is shown. */
export interface StatusMessage {
  vertexes: readonly {
    digest: string;
    name: string;
    started?: Time | undefined;
    completed?: Time | undefined;
    cached: boolean;
    error: string;
  }[];
  statuses: readonly {
    id: string;
    vertex: string;
    current: bigint | number;
    total: bigint | number;
    timestamp?: Time | undefined;
    started?: Time | undefined;
    completed?: Time | undefined;
  }[];
  logs: readonly { vertex: string; msg: Uint8Array; timestamp?: Time | undefined }[];
  warnings: readonly { short: Uint8Array; url: string; detail: readonly Uint8Array[] }[];
}

/** Something of many that move in a step. */
export interface Movement {
  id: string;
  current: number;
  total: number;
  startedMs: number;
  /** Undefined while it moves. */
  endedMs: number | undefined;
}

/** One step. */
export interface Step {
  /** From 1, in the order in which they were told. */
  number: number;
  name: string;
  startedMs: number | undefined;
  /** Undefined while it runs. */
  endedMs: number | undefined;
  cached: boolean;
  error: string;
  movements: Map<string, Movement>;
  /** What its command has written, without the last line end. */
  lines: string[];
  /** The begin of a line that has not ended. */
  rest: string;
}

/** What a message brought that was not there before. */
export interface News {
  begun: Step[];
  /** Complete lines, with the time of each in milliseconds. */
  lines: { step: Step; text: string; atMs: number }[];
  moved: { step: Step; movement: Movement }[];
  ended: Step[];
  warnings: { short: string; url: string; detail: string }[];
}

/** All of a build. */
export class BuildProgress {
  readonly steps: Step[] = [];
  readonly warnings: News['warnings'] = [];
  readonly #byDigest = new Map<string, Step>();
  readonly #decoder = new TextDecoder();

  /** Takes one message. */
  take({ vertexes, statuses, logs, warnings }: StatusMessage): News {
    const news: News = { begun: [], lines: [], moved: [], ended: [], warnings: [] };
    for (const vertex of vertexes) this.#vertex(vertex, news);
    for (const { vertex, id, current, total, started, completed, timestamp } of statuses) {
      const step = this.#byDigest.get(vertex);
      if (!step) continue;
      const movement: Movement = {
        id,
        current: Number(current),
        total: Number(total),
        startedMs: milliseconds(started ?? timestamp) ?? 0,
        endedMs: milliseconds(completed),
      };
      step.movements.set(id, movement);
      news.moved.push({ step, movement });
    }
    for (const { vertex, msg, timestamp } of logs) {
      const step = this.#byDigest.get(vertex);
      if (!step) continue;
      const parts = `${step.rest}${this.#decoder.decode(msg)}`.split('\n');
      step.rest = parts.pop()!;
      for (const text of parts) {
        // of a line that was written over, the last state
        const shown = text.replace(/\r$/, '').replace(/^.*\r/, '');
        step.lines.push(shown);
        news.lines.push({ step, text: shown, atMs: milliseconds(timestamp) ?? 0 });
      }
    }
    for (const { short, url, detail } of warnings) {
      const warning = {
        short: Buffer.from(short).toString('utf8'),
        url,
        detail: detail.map((line) => Buffer.from(line).toString('utf8')).join('\n'),
      };
      this.warnings.push(warning);
      news.warnings.push(warning);
    }
    return news;
  }

  #vertex(
    { digest, name, started, completed, cached, error }: StatusMessage['vertexes'][number],
    news: News,
  ): void {
    let step = this.#byDigest.get(digest);
    if (!step) {
      step = {
        number: this.steps.length + 1,
        name,
        startedMs: undefined,
        endedMs: undefined,
        cached: false,
        error: '',
        movements: new Map(),
        lines: [],
        rest: '',
      };
      this.#byDigest.set(digest, step);
      this.steps.push(step);
      news.begun.push(step);
    }
    step.startedMs ??= milliseconds(started);
    step.cached ||= cached;
    step.error ||= error;
    const wasOver = step.endedMs !== undefined;
    step.endedMs ??= milliseconds(completed);
    if (!wasOver && step.endedMs !== undefined) {
      if (step.rest !== '') news.lines.push({ step, text: step.rest, atMs: step.endedMs });
      step.rest = '';
      news.ended.push(step);
    }
  }
}

function milliseconds(time: Time | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1000 + time.nanos / 1e6;
}

/** `1.2s` */
export function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1000).toFixed(1)}s`;
}
