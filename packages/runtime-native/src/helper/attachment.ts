/** A client of a process's stdio over a connection of its own, so that its pace is nobody else's. */
import { RuntimeError } from '../errors.ts';
import type { Attachment } from '../runtime.ts';
import { connectMonitor } from './connection.ts';
import type { MonitorConnection } from './connection.ts';
import { FRAME, FRAME_MAX_PAYLOAD } from './message.ts';

type Chunk = { stream: 'stdout' | 'stderr'; data: Uint8Array };

/** Bytes taken from the monitor ahead of the consumer; beyond it the socket is left alone, and the monitor waits. */
const READ_AHEAD_BYTES = 1 << 20;

/** Output between the socket that pushes and the consumer that pulls. */
class OutputQueue implements AsyncIterable<Chunk> {
  readonly #chunks: Chunk[] = [];
  readonly #flow: { pause(): void; resume(): void };
  #bytes = 0;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(flow: { pause(): void; resume(): void }) {
    this.#flow = flow;
  }

  push(chunk: Chunk): void {
    if (this.#ended) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.data.length;
    if (this.#bytes >= READ_AHEAD_BYTES) this.#flow.pause();
    this.#wake?.();
  }

  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void, undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) {
        const before = this.#bytes;
        this.#bytes -= chunk.data.length;
        if (before >= READ_AHEAD_BYTES && this.#bytes < READ_AHEAD_BYTES) this.#flow.resume();
        yield chunk;
      } else if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}

/**
 * Attaches to the process whose monitor listens in `directory`.
 *
 * @throws {RuntimeError} `NOT_RUNNING` when there is no monitor any more
 */
export async function attach(
  directory: string,
  options: { stdin?: boolean; signal?: AbortSignal } = {},
): Promise<Attachment> {
  const { stdin = false, signal } = options;
  signal?.throwIfAborted();
  let connection: MonitorConnection | undefined;
  const queue = new OutputQueue({ pause: () => connection?.pause(), resume: () => connection?.resume() });
  const lost = (): RuntimeError =>
    new RuntimeError(
      'MONITOR_LOST',
      'the output ended early: the monitor is gone, or has dropped this client',
    );
  let closedByUs = false;
  const onAbort = (): void => {
    queue.end(signal?.reason);
    closedByUs = true;
    connection?.close();
  };
  connection = await connectMonitor(directory, {
    output: (stream, data) => queue.push({ stream, data }),
    end: () => queue.end(),
    close: () => {
      signal?.removeEventListener('abort', onAbort);
      queue.end(closedByUs ? undefined : lost());
    },
  });
  const ended = (cause?: unknown): RuntimeError =>
    new RuntimeError('NOT_RUNNING', 'the process has ended, and its output with it', { cause });
  if (!connection) throw ended();
  const established = connection;

  const close = (): void => {
    closedByUs = true;
    queue.end();
    established.close();
  };
  try {
    await established.request(FRAME.ATTACH, stdin ? 1 : 0);
    signal?.throwIfAborted();
  } catch (error) {
    close();
    // it ended while we were at its door
    if (RuntimeError.is(error) && error.code === 'MONITOR_LOST') throw ended(error);
    throw error;
  }
  signal?.addEventListener('abort', onAbort, { once: true });
  // somebody who has attached wants to see the end: this keeps the event loop alive until then
  established.hold();

  const send = async (type: number, payload?: Uint8Array): Promise<void> => {
    try {
      await established.send(type, payload);
    } catch (error) {
      throw new RuntimeError('NOT_RUNNING', 'nobody takes stdin any more: the process has ended', {
        cause: error,
      });
    }
  };

  return {
    output: queue,
    async write(data) {
      for (let at = 0; at < data.length; at += FRAME_MAX_PAYLOAD) {
        await send(FRAME.STDIN, data.subarray(at, at + FRAME_MAX_PAYLOAD));
      }
    },
    closeStdin: () => send(FRAME.STDIN_EOF),
    async close() {
      close();
    },
    async [Symbol.asyncDispose]() {
      close();
    },
  };
}
