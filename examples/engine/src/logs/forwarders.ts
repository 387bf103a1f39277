/**
 * Sends the logs of containers on to where their drivers say, by reading the files that the monitors write.
 *
 * How far each is, is kept beside its log: an engine that comes back goes on there. What was sent shortly before a
 * crash may be sent again; nothing is left out.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Logger } from 'pino';

import { messageOf } from '../errors.ts';
import { parseTimestamp } from '../time.ts';
import { LogReader, type LogEntry } from './json-file.ts';
import type { LogSink } from './sinks.ts';

/** One container's log, and where it goes. */
export interface Forwarding {
  id: string;
  /** The monitor's file. */
  logPath: string;
  /** Where it is kept how far this is. */
  positionPath: string;
  /** Opens the sink, also again after it broke. */
  open(): Promise<LogSink>;
  /** Settles when the container has ended. */
  ended: Promise<unknown>;
}

/** Entries up to this time were sent, and of those at just that time so many. */
interface Position {
  time: string;
  count: number;
}

/** How long to wait before a broken sink is opened again, in milliseconds. */
const REOPEN_MS = 1000;

/** Disposing of it stops the reading; what was not sent yet is sent by the next engine. */
export class LogForwarders implements AsyncDisposable {
  readonly #log: Logger;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Forwards a log until its container has ended and all of it is sent. */
  begin(forwarding: Forwarding): void {
    const running = this.#forward(forwarding)
      .catch((error: unknown) => {
        if (this.#closing.signal.aborted) return;
        this.#log.error({ err: error, container: forwarding.id }, `forwarding a log: ${messageOf(error)}`);
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #forward(forwarding: Forwarding): Promise<void> {
    const { signal } = this.#closing;
    let ended = false;
    void forwarding.ended.finally(() => (ended = true));
    while (!signal.aborted) {
      try {
        await this.#forwardOnce(forwarding);
        return;
      } catch (error) {
        if (signal.aborted) return;
        // nobody takes them: a container that is gone does not wait for ever
        if (ended) throw error;
        this.#log.warn(
          { err: error, container: forwarding.id },
          `forwarding a log is tried again: ${messageOf(error)}`,
        );
        await waitFor(REOPEN_MS, signal);
      }
    }
  }

  async #forwardOnce({ logPath, positionPath, open, ended }: Forwarding): Promise<void> {
    await using sink = await open();
    let position = readPosition(positionPath);
    const sinceNs = position && parseTimestamp(position.time);
    await using reader = await LogReader.open(logPath, {
      followUntil: ended,
      signal: this.#closing.signal,
      ...(sinceNs === undefined ? {} : { sinceNs }),
    });
    let skip = position?.count ?? 0;
    for await (const batch of reader) {
      const entries = batch.slice(skip);
      skip = Math.max(0, skip - batch.length);
      if (entries.length === 0) continue;
      await sink.send(entries);
      position = advance(position, entries);
      writeFileSync(positionPath, JSON.stringify(position), { mode: 0o600 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the engine is shutting down'));
    await Promise.all(this.#running);
  }
}

function advance(before: Position | undefined, sent: readonly LogEntry[]): Position {
  const { time } = sent.at(-1)!;
  const count = sent.filter((entry) => entry.time === time).length;
  return { time, count: before?.time === time ? before.count + count : count };
}

function readPosition(path: string): Position | undefined {
  try {
    const { time, count } = JSON.parse(readFileSync(path, 'utf8')) as Partial<Position>;
    return typeof time === 'string' && typeof count === 'number' ? { time, count } : undefined;
  } catch {
    // none yet, or cut short by a crash: all of the log is sent again
    return undefined;
  }
}

function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => resolve(), { once: true });
  return promise.finally(() => clearTimeout(timer));
}
