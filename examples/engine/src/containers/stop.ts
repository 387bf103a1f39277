/** Stopping, killing, pausing and restarting: the signals a client sends to a container. */
import { conflict, notModified, systemError } from '../errors.ts';
import type { Lifecycle } from './lifecycle.ts';
import { parseSignal, SIGKILL, SIGTERM } from './signals.ts';
import type { LiveContainer, WaitResult } from './store.ts';
import type { ContainerWorld } from './world.ts';

/** Seconds between the polite signal and SIGKILL when neither client nor container says. */
const DEFAULT_STOP_TIMEOUT_S = 10;
/** How long a process may take to die of SIGKILL: in uninterruptible sleep it may take for ever. */
const KILL_WAIT_MS = 10_000;

/** How to stop. */
export interface StopOptions {
  /** Name or number; the container's own stop signal by default. */
  signal?: string | undefined;
  /** Seconds until SIGKILL; negative waits for ever. */
  timeoutS?: number | undefined;
}

/**
 * Stops a container and waits until it has.
 *
 * @throws {EngineError} `NOT_MODIFIED` when it does not run; `INVALID` for an unknown signal
 */
export async function stopContainer(
  world: ContainerWorld,
  container: LiveContainer,
  options: StopOptions = {},
): Promise<void> {
  const { config } = container.record;
  const signal = parseSignal(options.signal || config.StopSignal || String(SIGTERM));
  if (!container.state.running) throw notModified('container is already stopped');
  if (await giveUpRestart(world, container)) {
    world.store.publish(container, 'stop');
    return;
  }
  const timeoutS = options.timeoutS ?? config.StopTimeout ?? DEFAULT_STOP_TIMEOUT_S;
  const exit = container.wait('not-running');
  markStopped(world, container);
  await send(world, container, signal);
  const ended = await within(exit, timeoutS < 0 ? undefined : timeoutS * 1000);
  if (!ended) await killAndWait(world, container, exit);
  world.store.publish(container, 'stop');
}

/**
 * Sends a signal, SIGKILL by default, after which it waits for the end.
 *
 * @param text - what the client called the container, for the message
 * @throws {EngineError} `CONFLICT` when it does not run; `INVALID` for an unknown signal
 */
export async function killContainer(
  world: ContainerWorld,
  container: LiveContainer,
  options: { signal?: string | undefined; text?: string },
): Promise<void> {
  const signal = options.signal ? parseSignal(options.signal) : SIGKILL;
  const { record, state } = container;
  if (!state.running) {
    throw conflict(
      `cannot kill container: ${options.text ?? container.name}: container ${container.id} is not running`,
    );
  }
  if (await giveUpRestart(world, container)) return;
  // a signal other than the one that stops this container is a message to it, not an end
  const stopSignal = record.config.StopSignal ? parseSignal(record.config.StopSignal) : undefined;
  if (stopSignal === undefined || stopSignal === signal || signal === SIGKILL)
    container.restartCancelled = true;
  state.manuallyStopped = true;
  world.store.saveState(container);
  if (signal === SIGKILL) await killAndWait(world, container, container.wait('not-running'));
  else await send(world, container, signal);
}

/** Stops and starts; one that does not run is only started. Not an end for `--rm`, and not one for its policy. */
export async function restartContainer(
  world: ContainerWorld,
  lifecycle: Lifecycle,
  container: LiveContainer,
  options: StopOptions,
): Promise<void> {
  container.restarting = true;
  try {
    if (container.state.running) await stopContainer(world, container, options);
    await lifecycle.start(container);
  } finally {
    container.restarting = false;
  }
  world.store.publish(container, 'restart');
}

/** @throws {EngineError} `CONFLICT` when it does not run or is paused already */
export async function pauseContainer(world: ContainerWorld, container: LiveContainer): Promise<void> {
  using _lock = await container.lock.acquire();
  const { state } = container;
  if (!state.running) throw conflict(`container ${container.id} is not running`);
  if (state.paused) throw conflict(`container ${container.id} is already paused`);
  if (state.restarting || !container.handle) {
    throw conflict(`container ${container.id} is restarting, wait until the container is running`);
  }
  await container.handle.pause();
  state.paused = true;
  world.store.saveState(container);
  world.store.publish(container, 'pause');
}

/** @throws {EngineError} `SYSTEM` when it is not paused */
export async function unpauseContainer(world: ContainerWorld, container: LiveContainer): Promise<void> {
  using _lock = await container.lock.acquire();
  if (!container.state.paused) throw systemError(`container ${container.id} is not paused`);
  await thaw(world, container);
}

async function thaw(world: ContainerWorld, container: LiveContainer): Promise<void> {
  try {
    await container.handle?.resume();
  } catch (error) {
    // killed while it was frozen, which the freezer of cgroup version 2 lets happen at once
    if ((error as { code?: unknown }).code !== 'NOT_RUNNING') throw error;
  }
  container.state.paused = false;
  world.store.saveState(container);
  world.store.publish(container, 'unpause');
}

/** Ends the wait for a restart by policy. @returns whether there was one */
async function giveUpRestart(world: ContainerWorld, container: LiveContainer): Promise<boolean> {
  using _lock = await container.lock.acquire();
  if (!container.state.restarting) return false;
  container.cancelRestart?.();
  container.restartCancelled = true;
  Object.assign(container.state, { running: false, restarting: false, manuallyStopped: true });
  world.store.saveState(container);
  container.notifyExit();
  return true;
}

function markStopped(world: ContainerWorld, container: LiveContainer): void {
  container.restartCancelled = true;
  container.state.manuallyStopped = true;
  world.store.saveState(container);
}

/** Signals the first process; a paused container is thawed so that the signal arrives. */
async function send(world: ContainerWorld, container: LiveContainer, signal: number): Promise<void> {
  const { handle } = container;
  try {
    await handle?.kill(signal);
  } catch (error) {
    // it ended just before: then there is nothing left to signal
    if ((error as { code?: unknown }).code !== 'NOT_RUNNING') throw error;
  }
  world.store.publish(container, 'kill', { signal: String(signal) });
  if (container.state.paused) {
    using _lock = await container.lock.acquire();
    if (container.state.paused) await thaw(world, container);
  }
}

async function killAndWait(
  world: ContainerWorld,
  container: LiveContainer,
  exit: Promise<WaitResult>,
): Promise<void> {
  await send(world, container, SIGKILL);
  if (!(await within(exit, KILL_WAIT_MS))) {
    throw systemError(
      `cannot kill container: ${container.id}: tried to kill container, but did not receive an exit event`,
    );
  }
}

/** Whether `event` came within `ms` (for ever when undefined). */
async function within(event: Promise<unknown>, ms: number | undefined): Promise<boolean> {
  if (ms === undefined) {
    await event;
    return true;
  }
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([event.then(() => true), promise]);
  } finally {
    clearTimeout(timer);
  }
}
