/** A process with a monitor, as a client of the monitor sees it: the common part of containers and exec'd processes. */
import { closeSync } from 'node:fs';

import { RuntimeError } from './errors.ts';
import { attach } from './helper/attachment.ts';
import { MonitorConnection, RequestFailed, connectMonitor } from './helper/connection.ts';
import type { ConnectionEvents } from './helper/connection.ts';
import { failureError } from './helper/failure.ts';
import { FRAME, PHASE } from './helper/message.ts';
import { startMonitor } from './helper/spawn.ts';
import { abortable } from './abortable.ts';
import { pidfdOpen, waitPidfd } from './process.ts';
import type { Attachment, CallOptions, ExitStatus, Process, StdioOptions } from './runtime.ts';
import { readExit } from './state.ts';

/** Exit code of a process whose end nobody has seen. */
export const LOST_EXIT_CODE = 255;

/** Follows one process through its monitor. */
export class MonitoredProcess implements Process {
  readonly directory: string;
  /** For messages: `container x`, `a process in container x`. */
  readonly what: string;
  readonly terminal: boolean;
  #connection: MonitorConnection | undefined;
  /** Of a monitor that this process has started, and has to reap. */
  #monitorPidfd = -1;
  #reaped: Promise<void> = Promise.resolve();
  /** Somebody waits for the monitor, whichever way it goes: the event loop must not end before. */
  #launching = false;
  #phase: number = PHASE.CREATING;
  #pid = 0;
  #exit: ExitStatus | undefined;
  /** Who waits for any of the above to change. */
  readonly #watchers = new Set<() => void>();
  #failure: RuntimeError | undefined;
  /** Who runs hooks while the process is being set up; answers once. */
  #onHooks: ((pid: number) => Promise<void>) | undefined;
  #hooks: Promise<void> | undefined;
  /** The process is this one's child, and nobody has waited for it yet. */
  #own = false;
  readonly #onLost: () => Promise<ExitStatus>;

  /** @param onLost makes up an exit status when the monitor has gone without recording one */
  constructor(
    directory: string,
    options: { what: string; terminal: boolean; onLost: () => Promise<ExitStatus> },
  ) {
    this.directory = directory;
    this.what = options.what;
    this.terminal = options.terminal;
    this.#onLost = options.onLost;
  }

  /** Also of one that has ended, if it was seen alive. */
  get pid(): number {
    return this.#pid;
  }

  get phase(): number {
    return this.#phase;
  }

  get exit(): ExitStatus | undefined {
    return this.#exit;
  }

  #events(): ConnectionEvents {
    return {
      status: (phase, pid) => {
        this.#phase = phase;
        if (pid > 0) this.#pid = pid;
        this.#notify();
      },
      hooks: (pid) => {
        this.#pid = pid;
        this.#hooks = this.#onHooks?.(pid);
        this.#notify();
      },
      stage: (pid) => {
        const pidfd = pidfdOpen(pid);
        void waitPidfd(pidfd).finally(() => closeSync(pidfd));
      },
      failed: (failure) => {
        this.#failure = failureError(failure, this.what);
        this.#notify();
      },
      exit: (status) => this.#onExit(status),
      close: () => this.#onClose(),
    };
  }

  #notify(): void {
    for (const wake of this.#watchers) wake();
  }

  #onExit(status: ExitStatus): void {
    this.#exit ??= status;
    this.#phase = PHASE.STOPPED;
    this.#notify();
  }

  /** The end of a child is known from its monitor, but a zombie waits for its parent, or for who inherits it. */
  async #reapOwn(): Promise<void> {
    if (!this.#own || this.#pid === 0) return;
    this.#own = false;
    const pidfd = pidfdOpen(this.#pid);
    await waitPidfd(pidfd).finally(() => closeSync(pidfd));
  }

  #onClose(): void {
    this.#connection = undefined;
    if (this.#monitorPidfd >= 0) {
      const pidfd = this.#monitorPidfd;
      this.#monitorPidfd = -1;
      this.#reaped = waitPidfd(pidfd, { keepAlive: this.#launching }).then(() => closeSync(pidfd));
    }
    this.#notify();
  }

  /** Starts a monitor and waits until it says that the process is in `phase`. Nothing is left when that fails. */
  async launch(
    plan: Uint8Array,
    stateFd: number,
    phase: number,
    options: {
      stdio?: StdioOptions | undefined;
      signal?: AbortSignal | undefined;
      onHooks?: (pid: number) => Promise<void>;
    } = {},
  ): Promise<void> {
    const { stdio, signal, onHooks } = options;
    this.#onHooks = onHooks;
    this.#launching = true;
    const { pidfd, socket } = startMonitor(plan, stateFd, stdio);
    this.#own = stdio?.reparent ?? false;
    this.#monitorPidfd = pidfd;
    await this.#follow(new MonitorConnection(socket, this.#events()), phase, signal);
  }

  async #follow(connection: MonitorConnection, phase: number, signal?: AbortSignal): Promise<void> {
    this.#connection = connection;
    connection.hold();
    const onAbort = (): void => connection.abandon();
    signal?.addEventListener('abort', onAbort, { once: true });
    let hookError: unknown;
    try {
      while (this.#phase < phase && !this.#failure && !connection.closed) {
        const hooks = this.#hooks;
        this.#hooks = undefined;
        if (!hooks) await this.#change();
        else await hooks.then(() => connection.send(FRAME.PROCEED));
      }
    } catch (error) {
      // of a hook; or of telling a monitor that has gone, and then that is what went wrong
      if (!connection.closed) hookError = error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      connection.release();
    }
    if (this.#phase >= phase && !this.#failure && !hookError && !signal?.aborted) {
      this.#launching = false;
      return;
    }
    connection.abandon();
    // the monitor ends in a moment; nothing else may keep a small program alive until then
    const alive = setInterval(() => {}, 60_000);
    try {
      while (this.#connection) await this.#change();
      await this.#reaped;
      await this.#reapOwn();
    } finally {
      clearInterval(alive);
    }
    signal?.throwIfAborted();
    if (hookError !== undefined) throw hookError;
    throw (
      this.#failure ??
      new RuntimeError('MONITOR_LOST', `${this.what}: the monitor ended while it set things up`)
    );
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#watchers.delete(wake);
        resolve();
      };
      this.#watchers.add(wake);
    });
  }

  /** Connects to a monitor that an earlier process has started, or learns how the process ended. */
  async reconnect(): Promise<void> {
    this.#connection = await connectMonitor(this.directory, this.#events());
    const connection = this.#connection;
    if (connection) {
      connection.hold();
      while (this.#phase === PHASE.CREATING && !connection.closed) await this.#change();
      connection.release();
    }
    if (!this.#connection && !this.#exit) this.#onExit(readExit(this.directory) ?? (await this.#onLost()));
  }

  async wait(options: { signal?: AbortSignal } = {}): Promise<ExitStatus> {
    const { signal } = options;
    signal?.throwIfAborted();
    while (!this.#exit) {
      const connection = this.#connection;
      if (!connection) {
        // the monitor went away between our looks, or this object had let go of it
        await this.reconnect();
        continue;
      }
      connection.hold();
      try {
        await this.#until(connection, signal);
      } finally {
        if (!connection.closed) connection.release();
      }
    }
    await this.#reapOwn();
    return this.#exit;
  }

  async #until(connection: MonitorConnection, signal: AbortSignal | undefined): Promise<void> {
    while (!this.#exit && !connection.closed) await abortable(this.#change(), signal);
  }

  /** A request to the monitor. @throws {RuntimeError} `NOT_RUNNING` when there is none any more */
  async request(type: number, payload?: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (!this.#connection && !this.#exit) await this.reconnect();
    const connection = this.#connection;
    if (!connection || this.#exit) throw this.#notRunning();
    try {
      await abortable(connection.request(type, 0, payload), signal);
    } catch (error) {
      // it ended with the request on its way
      if (RuntimeError.is(error) && error.code === 'MONITOR_LOST') throw this.#notRunning(error);
      throw error;
    }
  }

  #notRunning(cause?: unknown): RuntimeError {
    return new RuntimeError('NOT_RUNNING', `${this.what} is not running`, { cause });
  }

  async kill(signal: number, options: CallOptions = {}): Promise<void> {
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(signal);
    try {
      await this.request(FRAME.KILL, payload, options.signal);
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error;
      if (error.failure.errnoCode === 'ESRCH') throw this.#notRunning(error);
      throw failureError({ ...error.failure, step: 'kill', syscall: 'pidfd_send_signal' }, this.what);
    }
  }

  async resize(size: { columns: number; rows: number }, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    if (!this.terminal) throw new RuntimeError('NOT_A_TERMINAL', `${this.what} has no terminal`);
    const payload = Buffer.alloc(4);
    payload.writeUInt16LE(size.columns & 0xffff, 0);
    payload.writeUInt16LE(size.rows & 0xffff, 2);
    try {
      await this.request(FRAME.RESIZE, payload, options.signal);
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error;
      if (error.failure.errnoCode === 'ESRCH') throw this.#notRunning(error);
      throw failureError({ ...error.failure, step: 'resize', syscall: 'ioctl' }, this.what);
    }
  }

  attach(options?: { stdin?: boolean; signal?: AbortSignal }): Promise<Attachment> {
    return attach(this.directory, options);
  }

  /** Lets go of the monitor; the process goes on. A later call on this object connects again. */
  release(): void {
    this.#connection?.close();
  }
}
