/** One connection to a monitor: requests and their results, and what the monitor says unasked. */
import { closeSync, constants, openSync } from 'node:fs';
import { Socket, connect } from 'node:net';

import { RuntimeError } from '../errors.ts';
import type { ExitStatus } from '../runtime.ts';
import { FRAME, FrameReader, PROTOCOL_VERSION, decodeFailure, encodeFrame } from './message.ts';
import type { Frame, HelperFailure } from './message.ts';

/** A request that the monitor refused. */
export class RequestFailed extends Error {
  readonly failure: HelperFailure;

  constructor(failure: HelperFailure) {
    super(failure.reason);
    this.failure = failure;
  }
}

/** What a connection tells its owner. Called synchronously, in the order of the frames. */
export interface ConnectionEvents {
  status?(phase: number, pid: number): void;
  /** A child of this process that makes the container's, and that nobody else can wait for. */
  stage?(pid: number): void;
  /** Hooks are to be run now, for the process of this pid; {@link FRAME}.PROCEED lets it go on. */
  hooks?(pid: number): void;
  failed?(failure: HelperFailure): void;
  exit?(status: ExitStatus): void;
  output?(stream: 'stdout' | 'stderr', data: Buffer): void;
  /** All output has been delivered. */
  end?(): void;
  /** The connection is gone, by whosever hand. Always the last event. */
  close?(): void;
}

interface PendingRequest {
  type: number;
  resolve(): void;
  reject(error: unknown): void;
}

/** The name of the monitor's socket in the state directory. */
export const SOCKET_NAME = 'ctl.sock';

/** sun_path holds 108 bytes with the closing NUL. */
const SOCKET_PATH_MAX_BYTES = 107;

/** See the module. Holds the event loop only while something is waited for: {@link MonitorConnection.hold}. */
export class MonitorConnection {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  readonly #reader = new FrameReader();
  readonly #pending = new Map<number, PendingRequest>();
  #nextId = 1;
  #holds = 0;
  #closed = false;

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.unref();
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    // ECONNRESET is how a monitor that has ended looks when it had not read everything; `close` follows
    socket.on('error', () => this.#socket.destroy());
    socket.on('end', () => this.#socket.destroy());
    socket.on('close', () => this.#onClose());
  }

  get closed(): boolean {
    return this.#closed;
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        this.#handle(frame);
        if (this.#closed) return;
      }
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : undefined);
    }
  }

  #handle(frame: Frame): void {
    const { type, argument, payload } = frame;
    if (type === FRAME.OUTPUT) this.#events.output?.(argument === 2 ? 'stderr' : 'stdout', payload);
    else if (type === FRAME.END) this.#events.end?.();
    else if (type === FRAME.RESULT) this.#settle(frame);
    else if (type === FRAME.HOOKS) this.#events.hooks?.(payload.readUInt32LE(0));
    else if (type === FRAME.STAGE) this.#events.stage?.(payload.readUInt32LE(0));
    else if (type === FRAME.FAILED) this.#events.failed?.(decodeFailure(payload));
    else if (type === FRAME.EXIT) this.#events.exit?.(decodeExit(payload));
    else if (type === FRAME.STATUS) {
      if (payload.readUInt32LE(0) !== PROTOCOL_VERSION) {
        throw new RangeError(`a monitor that speaks version ${payload.readUInt32LE(0)} of the protocol`);
      }
      this.#events.status?.(payload.readUInt32LE(4), payload.readUInt32LE(8));
    }
  }

  #settle({ id, payload }: Frame): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    this.release();
    if (payload.readUInt32LE(0) === 0) pending.resolve();
    else pending.reject(new RequestFailed(decodeFailure(payload)));
  }

  #onClose(): void {
    this.#closed = true;
    for (const pending of this.#pending.values()) {
      pending.reject(
        new RuntimeError('MONITOR_LOST', `the monitor has gone before it answered (request ${pending.type})`),
      );
    }
    this.#pending.clear();
    this.#events.close?.();
  }

  /**
   * Sends a request and waits for its result.
   *
   * @throws {RequestFailed} what the monitor answers
   * @throws {RuntimeError} `MONITOR_LOST` when it does not
   */
  request(type: number, argument = 0, payload?: Uint8Array): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new RuntimeError('MONITOR_LOST', 'the connection to the monitor is closed'));
    }
    const id = this.#nextId;
    this.#nextId = (id % 0xffff) + 1;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { type, resolve, reject });
      this.hold();
      this.#socket.write(encodeFrame(type, argument, id, payload));
    });
  }

  /** Sends a frame that has no result; resolves when the kernel has taken it. Rejects when the connection is gone. */
  send(type: number, payload?: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(encodeFrame(type, 0, 0, payload), (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Keeps the event loop alive until as many calls of {@link release}. */
  hold(): void {
    if (this.#holds++ === 0) this.#socket.ref();
  }

  release(): void {
    if (--this.#holds === 0) this.#socket.unref();
  }

  /** Stops reading, so that the monitor feels it. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  /**
   * For the maker: has the monitor kill its process, however far that is, and end. To hang up is not enough: who
   * hangs up on a container that is whole, though nobody has read that yet, has let go of it.
   */
  abandon(): void {
    if (!this.#socket.writableEnded) this.#socket.end(encodeFrame(FRAME.ABANDON, 0, 0));
  }
}

function decodeExit(payload: Buffer): ExitStatus {
  const signal = payload.readUInt32LE(4);
  return {
    exitCode: payload.readUInt32LE(0),
    signal: signal === 0 ? undefined : signal,
    oomKilled: payload.readUInt32LE(8) !== 0,
    exitedAt: new Date(Number(payload.readBigUInt64LE(16) / 1_000_000n)),
  };
}

/**
 * Connects to the monitor that listens in a state directory; undefined when none does. Long paths are reached through
 * a descriptor of the directory.
 */
export async function connectMonitor(
  directory: string,
  events: ConnectionEvents,
): Promise<MonitorConnection | undefined> {
  let path = `${directory}/${SOCKET_NAME}`;
  let fd = -1;
  try {
    if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
      fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
      path = `/proc/self/fd/${fd}/${SOCKET_NAME}`;
    }
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.removeAllListeners('error');
    return new MonitorConnection(socket, events);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // the last one: it went while we were waiting to be let in
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET') return undefined;
    throw error;
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
