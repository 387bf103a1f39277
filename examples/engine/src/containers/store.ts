/** Every container of this engine: in memory, in the database, and findable by what clients type. */
import type { Container } from '@tare/runtime-native';

import { conflict } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { ContainersTable } from '../state/containers-table.ts';
import {
  createdState,
  type ContainerRecord,
  type ContainerState,
  type NetworkAttachment,
} from './container.ts';
import { Mutex } from './mutex.ts';
import { lookup } from './names.ts';
import type { StdioClient } from './stdio-client.ts';

/** What a waiter learns: how the container ended. */
export interface WaitResult {
  exitCode: number;
  /** Why it could not be removed, for `removed`. */
  error?: string;
}

/** What to wait for; `not-running` is over at once for a container that does not run. */
export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** One container, live: its data, and everything that hangs on it while the engine runs. */
export class LiveContainer {
  record: ContainerRecord;
  state: ContainerState;
  /** Held by whatever changes the container's state. */
  readonly lock = new Mutex();
  /** The runtime's container, while there is one. */
  handle: Container | undefined;
  /** Clients attached, or waiting for the start. */
  readonly clients = new Set<StdioClient>();
  /** Set while a restart is due; calling it gives the restart up. */
  cancelRestart: (() => void) | undefined;
  /** Delay of the last restart by policy, in milliseconds. */
  restartDelayMs = 0;
  /** A client stopped or killed it: no policy restarts it until it is started again. */
  restartCancelled = false;
  /** A client's restart is under way: the exit in the middle is not the end. */
  restarting = false;
  /** Variables that are nowhere but here. */
  lentEnv: readonly string[] = [];
  readonly #exitWaiters = new Set<(result: WaitResult) => void>();
  readonly #removeWaiters = new Set<(result: WaitResult) => void>();

  constructor(record: ContainerRecord, state: ContainerState) {
    this.record = record;
    this.state = state;
  }

  get id(): string {
    return this.record.id;
  }

  get name(): string {
    return this.record.name;
  }

  /** Registers at once; resolves when the condition is met, never rejects but for `signal`. */
  wait(condition: WaitCondition, signal?: AbortSignal): Promise<WaitResult> {
    if (condition === 'not-running' && !this.state.running) {
      return Promise.resolve({ exitCode: this.state.exitCode });
    }
    const waiters = condition === 'removed' ? this.#removeWaiters : this.#exitWaiters;
    const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
    const settle = (result: WaitResult): void => {
      signal?.removeEventListener('abort', onAbort);
      resolve(result);
    };
    const onAbort = (): void => {
      waiters.delete(settle);
      reject(signal!.reason as Error);
    };
    if (signal?.aborted) reject(signal.reason as Error);
    else {
      waiters.add(settle);
      signal?.addEventListener('abort', onAbort, { once: true });
    }
    return promise;
  }

  /** Tells those who wait for an exit. */
  notifyExit(): void {
    this.#notify(this.#exitWaiters, { exitCode: this.state.exitCode });
  }

  /** Tells those who wait for the removal, and those who wait for an exit that cannot come any more. */
  notifyRemoved(error?: string): void {
    const result = { exitCode: this.state.exitCode, ...(error === undefined ? {} : { error }) };
    this.#notify(this.#removeWaiters, result);
    if (error === undefined) this.#notify(this.#exitWaiters, result);
  }

  #notify(waiters: Set<(result: WaitResult) => void>, result: WaitResult): void {
    const settles = [...waiters];
    waiters.clear();
    for (const settle of settles) settle(result);
  }
}

/** The containers, and the one place that writes their rows. */
export class ContainerStore {
  readonly #table: ContainersTable<ContainerRecord, ContainerState>;
  readonly #events: EventBus;
  readonly #containers = new Map<string, LiveContainer>();
  /** Being made: not findable, but their name, image and volumes are taken. */
  readonly #creating = new Map<string, LiveContainer>();

  constructor(table: ContainersTable<ContainerRecord, ContainerState>, events: EventBus) {
    this.#table = table;
    this.#events = events;
  }

  /** Every container, oldest first. */
  all(): LiveContainer[] {
    return [...this.#containers.values()];
  }

  /** Every container, and those that are being made. */
  allClaimed(): LiveContainer[] {
    return [...this.#containers.values(), ...this.#creating.values()];
  }

  /** @throws {EngineError} `NOT_FOUND`, or `INVALID` for a prefix that fits several */
  find(text: string): LiveContainer {
    return lookup(this.#containers, text);
  }

  get(id: string): LiveContainer | undefined {
    return this.#containers.get(id);
  }

  nameTaken(name: string): boolean {
    return this.allClaimed().some((container) => container.name === name);
  }

  /** @throws {EngineError} `CONFLICT` when another container has the name */
  checkName(name: string): void {
    const other = this.allClaimed().find((container) => container.name === name);
    if (!other) return;
    throw conflict(
      `Conflict. The container name "/${name}" is already in use by container "${other.id}". ` +
        'You have to remove (or rename) that container to be able to reuse that name.',
    );
  }

  /** Writes a new container's row in phase `creating`; it is not findable until {@link ContainerStore.ready}. */
  insert(record: ContainerRecord, networks: Record<string, NetworkAttachment>): LiveContainer {
    const container = new LiveContainer(record, createdState(networks));
    this.#table.insert(record, container.state);
    this.#creating.set(container.id, container);
    return container;
  }

  /** The container has everything it owns: it can be found from now on. */
  ready(container: LiveContainer): void {
    this.#table.setPhase(container.id, 'ready');
    this.#creating.delete(container.id);
    this.#containers.set(container.id, container);
  }

  /** Takes up the rows that an earlier engine left; returns those that it had not finished making or removing. */
  load(): { phase: 'creating' | 'removing'; container: LiveContainer }[] {
    const unfinished: { phase: 'creating' | 'removing'; container: LiveContainer }[] = [];
    for (const { phase, record, state } of this.#table.list()) {
      const container = new LiveContainer(record, state);
      if (phase === 'ready') this.#containers.set(record.id, container);
      else unfinished.push({ phase, container });
    }
    return unfinished;
  }

  saveState(container: LiveContainer): void {
    this.#table.saveState(container.id, container.state);
  }

  saveRecord(container: LiveContainer): void {
    this.#table.saveRecord(container.record);
  }

  /** From here on a crash ends in removal. */
  removing(container: LiveContainer): void {
    this.#table.setPhase(container.id, 'removing');
  }

  /** Forgets the container; everything it owned is gone. */
  forget(container: LiveContainer): void {
    this.#table.remove(container.id);
    this.#creating.delete(container.id);
    this.#containers.delete(container.id);
  }

  /** Publishes an event of a container, with its image, name and labels. */
  publish(container: LiveContainer, action: string, attributes: Record<string, string> = {}): void {
    const { config, name, id } = container.record;
    this.#events.publish({
      type: 'container',
      action,
      id,
      attributes: { ...config.Labels, ...attributes, image: config.Image ?? '', name },
    });
  }
}
