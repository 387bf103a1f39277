/** What happens to a container from its start on: it ends, is restarted by its policy, or removed. */
import type { Container, ExitStatus } from '@tare/runtime-native';

import { join } from 'node:path';
import { EngineError, messageOf } from '../errors.ts';
import { formatTime, nowNs } from '../time.ts';
import type { HealthMonitor } from './health-monitor.ts';
import { removeContainer } from './remove.ts';
import { nextRestartDelay, shouldRestart } from './restart-policy.ts';
import { drainClients, startContainer, tearDown } from './start.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, logOf, openLogSink, type ContainerWorld } from './world.ts';

/** What is recorded when nobody can say any more how a process ended. */
const UNKNOWN_EXIT = 255;

/** Watches running containers. Disposing of it stops the watching; the containers go on. */
export class Lifecycle implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #health: HealthMonitor;
  readonly #closing = new AbortController();
  /** Work that goes on by itself; waited for at the end. */
  readonly #background = new Set<Promise<void>>();

  constructor(world: ContainerWorld, health: HealthMonitor) {
    this.#world = world;
    this.#health = health;
  }

  /** Starts a container at a client's request. Errors as `startContainer`. */
  async start(container: LiveContainer): Promise<void> {
    using _lock = await container.lock.acquire();
    container.restartDelayMs = 0;
    if (!container.state.running) container.state.restartCount = 0;
    try {
      await startContainer(this.#world, container, this.watch);
    } catch (error) {
      const gone = error instanceof EngineError && error.code !== 'NOT_MODIFIED' && !container.state.running;
      if (gone && container.record.hostConfig.AutoRemove) this.removeLater(container);
      throw error;
    }
  }

  /** Waits for the end of a container that runs, and deals with it. */
  readonly watch = (container: LiveContainer, handle: Container): void => {
    this.#health.begin(container);
    this.#tendLog(container);
    this.#later(this.#watch(container, handle));
  };

  #tendLog(container: LiveContainer): void {
    const { record, id } = container;
    const log = logOf(this.#world, record);
    if (log?.compress) this.#world.logCompressor.begin(id, log, container.wait('next-exit'));
    const driver = record.hostConfig.LogConfig?.Type ?? '';
    if (!log || (driver !== 'syslog' && driver !== 'journald')) return;
    this.#world.logForwarders.begin({
      id,
      logPath: log.path,
      positionPath: join(containerFiles(this.#world.paths, id).directory, 'log-forwarded'),
      open: async () => (await openLogSink(this.#world, record))!,
      ended: container.wait('next-exit'),
    });
  }

  async #watch(container: LiveContainer, handle: Container): Promise<void> {
    let status: ExitStatus;
    try {
      status = await handle.wait({ signal: this.#closing.signal });
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#world.log.error(
        { err: error, container: container.id },
        `container ${container.id}: its monitor was lost: ${messageOf(error)}`,
      );
      status = lostStatus();
    }
    using _lock = await container.lock.acquire();
    if (container.handle !== handle) return;
    try {
      await this.ended(container, status);
    } catch (error) {
      // what could not be written down, on a full disk for example, has happened all the same: nobody waits for ever
      this.#world.log.error(
        { err: error, container: container.id },
        `container ${container.id}: its end could not be recorded: ${messageOf(error)}`,
      );
      const { exitCode } = status;
      Object.assign(container.state, { running: false, restarting: false, paused: false, pid: 0, exitCode });
      container.notifyExit();
    }
  }

  /** Records an exit and does what follows from it. The caller holds the lock. */
  async ended(container: LiveContainer, status: ExitStatus): Promise<void> {
    const { state, record } = container;
    this.#health.end(container);
    const ranMs = state.startedAt ? status.exitedAt.getTime() - Date.parse(state.startedAt) : 0;
    const restart =
      !container.restartCancelled &&
      !container.restarting &&
      !this.#closing.signal.aborted &&
      shouldRestart(record.hostConfig.RestartPolicy ?? {}, { ...state, exitCode: status.exitCode });
    if (status.oomKilled) this.#world.store.publish(container, 'oom');
    this.#world.store.publish(container, 'die', {
      exitCode: String(status.exitCode),
      execDuration: String(Math.max(0, Math.floor(ranMs / 1000))),
    });
    await drainClients(container);
    await tearDown(this.#world, container);
    Object.assign(state, {
      running: restart,
      restarting: restart,
      paused: false,
      pid: 0,
      exitCode: status.exitCode,
      oomKilled: status.oomKilled,
      finishedAt: formatTime(nowNs()),
    });
    if (restart) {
      state.restartCount += 1;
      container.restartDelayMs = nextRestartDelay(container.restartDelayMs, ranMs);
    }
    this.#world.store.saveState(container);
    container.notifyExit();
    if (restart) this.scheduleRestart(container, container.restartDelayMs);
    else if (record.hostConfig.AutoRemove && !container.restarting) this.removeLater(container);
  }

  /** Starts the container again after a delay, unless a client gets in between. The caller holds the lock. */
  scheduleRestart(container: LiveContainer, delayMs: number): void {
    const timer = setTimeout(() => {
      if (container.cancelRestart !== cancel) return;
      this.#later(this.#restart(container, cancel));
    }, delayMs);
    const cancel = (): void => {
      clearTimeout(timer);
      container.cancelRestart = undefined;
    };
    container.cancelRestart = cancel;
    this.#closing.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  async #restart(container: LiveContainer, due: () => void): Promise<void> {
    await this.#world.jobs.run(
      'container.restart-policy',
      async () => {
        using _lock = await container.lock.acquire();
        if (container.cancelRestart !== due || !container.state.restarting) return;
        await startContainer(this.#world, container, this.watch);
      },
      { subject: container.id },
    );
  }

  /** Removes a container that was to be removed at its end, once its lock is free. */
  removeLater(container: LiveContainer): void {
    this.#later(this.#autoRemove(container));
  }

  async #autoRemove(container: LiveContainer): Promise<void> {
    await this.#world.jobs.run(
      'container.auto-remove',
      async () => {
        using _lock = await container.lock.acquire();
        if (container.state.running || container.state.removing) return;
        await removeContainer(this.#world, container, { volumes: true });
      },
      { subject: container.id },
    );
  }

  /** Runs work that no request waits for; its failure is logged. */
  #later(work: Promise<void>): void {
    const guarded = work
      .catch((error: unknown) => {
        const cancelled = error instanceof EngineError && ['CANCELLED', 'UNAVAILABLE'].includes(error.code);
        if (!cancelled) this.#world.log.error({ err: error }, messageOf(error));
      })
      .finally(() => this.#background.delete(guarded));
    this.#background.add(guarded);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new EngineError('UNAVAILABLE', 'the engine is shutting down'));
    await Promise.all(this.#background);
  }
}

/** The exit of a process that nobody saw end: its machine was switched off, or its monitor killed. */
export function lostStatus(): ExitStatus {
  return { exitCode: UNKNOWN_EXIT, signal: undefined, oomKilled: false, exitedAt: new Date() };
}
