/** One client's connection to a process's stdio: attach and exec. */
import type { Duplex } from 'node:stream';
import type { Attachment, Process } from '@tare/runtime-native';

import { frameHeader } from '../http/streams.ts';
import { DetachFilter } from './detach-keys.ts';

/** What the client takes part in. */
export interface StdioClientOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** The process has a terminal: the detach keys are heard. */
  terminal: boolean;
  /** Output goes in frames that say which stream it is; otherwise both streams go as they are. */
  multiplexed: boolean;
  detachKeys: Buffer;
  /**
   * The end of the client's input ends the connection, because it does not end the process's: the client has nothing
   * more to say to it.
   */
  endsWithInput: boolean;
  /** Aborts when the client went away or the engine shuts down. */
  signal: AbortSignal;
}

/** How a client's connection ended. */
export type StdioEnd = 'drained' | 'detached' | 'gone';

/** Time for what a process answers to the last input to reach a client that leaves with its input. */
const LAST_ANSWER_MS = 200;

/**
 * Copies between a connection and a process until the process has ended and its output is drained, the client has
 * detached, or it is gone. Never ends the connection itself: the caller does, when nothing is left to be said.
 */
export class StdioClient {
  readonly #duplex: Duplex;
  readonly #options: StdioClientOptions;
  readonly #done = Promise.withResolvers<StdioEnd>();
  #attachment: Attachment | undefined;
  #settled = false;

  constructor(duplex: Duplex, options: StdioClientOptions) {
    this.#duplex = duplex;
    this.#options = options;
    // its close is seen only while somebody reads; the end of what it sends means nothing without stdin
    if (!options.stdin) duplex.resume();
    duplex.once('close', this.#onGone);
    duplex.once('error', this.#onGone);
    if (options.signal.aborted) this.#onGone();
    else options.signal.addEventListener('abort', this.#onGone, { once: true });
  }

  /** Resolves when the client is done, however it ended. */
  get done(): Promise<StdioEnd> {
    return this.#done.promise;
  }

  /** Joins the process's stdio. Output from now on reaches the client; resolves once that is certain. */
  async connect(process: Process): Promise<void> {
    if (this.#settled) return;
    const attachment = await process.attach({ stdin: this.#options.stdin });
    if (this.#settled) {
      await attachment.close();
      return;
    }
    this.#attachment = attachment;
    void this.#copyOutput(attachment);
    if (this.#options.stdin) this.#copyInput(attachment);
  }

  /** Ends the connection's copying, for example because the process never started. */
  end(): void {
    this.#settle('drained');
  }

  /** Writes a text of the engine's own where the process's output goes. */
  writeText(text: string): void {
    const data = Buffer.from(text);
    if (this.#options.multiplexed) this.#duplex.write(frameHeader('stdout', data.length));
    this.#duplex.write(data);
  }

  /** Writes a piece of output; resolves when the client's connection takes more. */
  async write(stream: 'stdout' | 'stderr', data: Uint8Array): Promise<void> {
    if (!this.#options[stream] && !this.#options.terminal) return;
    const duplex = this.#duplex;
    if (duplex.destroyed || duplex.writableEnded) return;
    let room: boolean;
    if (!this.#options.multiplexed) room = duplex.write(data);
    else {
      duplex.cork();
      duplex.write(frameHeader(stream, data.length));
      room = duplex.write(data);
      duplex.uncork();
    }
    if (room) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    duplex.once('drain', resolve);
    duplex.once('close', resolve);
    await promise;
    duplex.off('drain', resolve);
    duplex.off('close', resolve);
  }

  async #copyOutput(attachment: Attachment): Promise<void> {
    try {
      for await (const { stream, data } of attachment.output) await this.write(stream, data);
    } catch {
      // the monitor is gone, and with it the process; its exit is reported by whoever waits for it
    }
    this.#settle('drained');
  }

  #copyInput(attachment: Attachment): void {
    const duplex = this.#duplex;
    const filter = this.#options.terminal ? new DetachFilter(this.#options.detachKeys) : undefined;
    let queue: Promise<void> = Promise.resolve();
    const after = (step: () => Promise<void>): void => {
      // a process that has ended takes no more input; what it left unread is dropped
      queue = queue.then(step).catch(() => undefined);
    };
    duplex.on('data', (chunk: Buffer) => {
      const { data, detached } = filter ? filter.push(chunk) : { data: chunk, detached: false };
      if (data.length > 0) {
        duplex.pause();
        after(async () => {
          await attachment.write(data);
          duplex.resume();
        });
      }
      if (detached) after(async () => this.#settle('detached'));
    });
    duplex.once('end', () => {
      after(() => attachment.closeStdin());
      if (this.#options.endsWithInput) after(async () => this.#endSoon());
    });
    duplex.resume();
  }

  #endSoon(): void {
    const timer = setTimeout(() => this.end(), LAST_ANSWER_MS);
    void this.done.then(() => clearTimeout(timer));
  }

  readonly #onGone = (): void => this.#settle('gone');

  #settle(end: StdioEnd): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#options.signal.removeEventListener('abort', this.#onGone);
    this.#duplex.off('close', this.#onGone);
    const attachment = this.#attachment;
    // a client that is gone will send no more: that is the end of its input, too; an engine that shuts down is not
    const closed =
      end === 'gone' && this.#options.stdin && this.#duplex.destroyed
        ? attachment?.closeStdin().catch(() => undefined)
        : Promise.resolve();
    void Promise.resolve(closed)
      .then(() => attachment?.close())
      .catch(() => undefined);
    this.#done.resolve(end);
  }
}
