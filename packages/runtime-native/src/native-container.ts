/** A container of {@link NativeRuntime}: its first process, its cgroup and its directory. */
import { closeSync, constants, openSync } from 'node:fs';

import { watchOom } from './cgroups/oom.ts';
import type { Cgroup } from './cgroups/cgroup.ts';
import { RuntimeError } from './errors.ts';
import { RequestFailed } from './helper/connection.ts';
import { failureError } from './helper/failure.ts';
import { FRAME, PHASE } from './helper/message.ts';
import { runHooks, runPoststop } from './hooks.ts';
import { removeRdtGroups } from './intel-rdt.ts';
import { placementOf } from './launch-plan.ts';
import { findExecs, launchExec } from './native-exec.ts';
import { LOST_EXIT_CODE, MonitoredProcess } from './native-process.ts';
import type { HookSubject } from './plan/hooks.ts';
import { checkId, parseResources } from './plan/validate.ts';
import type {
  Attachment,
  CallOptions,
  Container,
  ContainerEvent,
  ContainerState,
  ContainerStats,
  ContainerStatus,
  ExecOptions,
  ExecProcess,
  ExitStatus,
  StdioOptions,
} from './runtime.ts';
import type { Spec } from './spec/config.ts';
import type { LinuxResources } from './spec/linux.ts';
import { StateDirectory, writeExit } from './state.ts';
import type { ContainerRecord } from './state.ts';

const SIGKILL = 9;

/** Kills what is left of a container whose monitor is gone, and records the end that nobody has seen. */
async function buryLost(directory: string, cgroup: Cgroup): Promise<ExitStatus> {
  await cgroup.kill();
  const status: ExitStatus = {
    exitCode: LOST_EXIT_CODE,
    signal: undefined,
    oomKilled: cgroup.oomKills() > 0,
    exitedAt: new Date(),
  };
  writeExit(directory, status);
  return status;
}

/** What the hooks of a container are told of it. */
export function subjectOf(id: string, { bundle, cwd }: ContainerRecord): HookSubject {
  return { id, bundle: bundle ?? cwd };
}

/** See {@link Container}. */
export class NativeContainer implements Container {
  readonly id: string;
  readonly #state: StateDirectory;
  readonly #record: ContainerRecord;
  readonly #cgroup: Cgroup;
  readonly #warn: (warning: RuntimeError) => void;
  readonly #process: MonitoredProcess;

  constructor(
    id: string,
    state: StateDirectory,
    record: ContainerRecord,
    warn: (warning: RuntimeError) => void,
    cgroup: Cgroup,
  ) {
    this.id = id;
    this.#warn = warn;
    this.#state = state;
    this.#record = record;
    this.#cgroup = cgroup;
    const directory = state.directory(id);
    this.#process = new MonitoredProcess(directory, {
      what: `container ${id}`,
      terminal: record.terminal,
      onLost: () => buryLost(directory, cgroup),
    });
  }

  /** Sets the container up; for {@link NativeRuntime.create}. */
  async launch(
    plan: Uint8Array,
    options: { stdio?: StdioOptions; signal?: AbortSignal; onHooks?: (pid: number) => Promise<void> } = {},
  ): Promise<void> {
    const fd = openSync(this.#process.directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await this.#process.launch(plan, fd, PHASE.CREATED, options);
    } finally {
      closeSync(fd);
    }
  }

  /** Finds the container's monitor, or how it ended; for {@link NativeRuntime.load}. */
  reconnect(): Promise<void> {
    return this.#process.reconnect();
  }

  get pid(): number {
    return this.#process.phase === PHASE.STOPPED ? 0 : this.#process.pid;
  }

  #status(): ContainerStatus {
    const { phase } = this.#process;
    if (phase === PHASE.STOPPED) return 'stopped';
    if (phase === PHASE.RUNNING) return this.#cgroup.frozen() ? 'paused' : 'running';
    return phase === PHASE.CREATED ? 'created' : 'creating';
  }

  get spec(): Spec {
    return this.#record.spec;
  }

  async state(options: CallOptions = {}): Promise<ContainerState> {
    options.signal?.throwIfAborted();
    return {
      id: this.id,
      status: this.#status(),
      pid: this.pid,
      createdAt: new Date(this.#record.createdAt),
      exit: this.#process.exit,
      bundle: this.#record.bundle,
      annotations: this.#record.spec.annotations ?? {},
    };
  }

  #expect(phase: number, operation: string): void {
    if (this.#process.phase === phase) return;
    const status = this.#status();
    const code = phase === PHASE.RUNNING ? 'NOT_RUNNING' : 'INVALID_STATE';
    throw new RuntimeError(code, `cannot ${operation} container ${this.id}: it is ${status}`);
  }

  async start(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#expect(PHASE.CREATED, 'start');
    try {
      await this.#process.request(FRAME.START, undefined, options.signal);
    } catch (error) {
      if (error instanceof RequestFailed) throw failureError(error.failure, `container ${this.id}`);
      throw error;
    }
    await this.#runPoststart(options.signal);
  }

  /** One that fails stops the container, as the runtime spec has it since 1.3. */
  async #runPoststart(signal: AbortSignal | undefined): Promise<void> {
    const { pid } = this.#process;
    try {
      await runHooks('poststart', {
        spec: this.spec,
        subject: this.#subject(),
        status: 'running',
        pid,
        signal,
      });
    } catch (error) {
      await this.#cgroup.kill(SIGKILL);
      await this.#process.wait();
      throw error;
    }
  }

  #subject(): HookSubject {
    return subjectOf(this.id, this.#record);
  }

  wait(options?: { signal?: AbortSignal }): Promise<ExitStatus> {
    return this.#process.wait(options);
  }

  kill(signal: number, options?: CallOptions): Promise<void> {
    return this.#process.kill(signal, options);
  }

  async killAll(signal: number, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    await this.#cgroup.kill(signal);
  }

  async pause(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#expect(PHASE.RUNNING, 'pause');
    await this.#cgroup.freeze(options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#expect(PHASE.RUNNING, 'resume');
    await this.#cgroup.thaw();
  }

  async update(resources: LinuxResources, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    this.#cgroup.apply(parseResources(resources));
  }

  async stats(options: CallOptions = {}): Promise<ContainerStats> {
    options.signal?.throwIfAborted();
    return this.#cgroup.stats();
  }

  async pids(options: CallOptions = {}): Promise<number[]> {
    options.signal?.throwIfAborted();
    return this.#cgroup.pids();
  }

  async *events(options: CallOptions = {}): AsyncGenerator<ContainerEvent, void, undefined> {
    options.signal?.throwIfAborted();
    let seen = this.#process.exit ? Infinity : this.#cgroup.oomKills();
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const exited = this.wait({ signal });
    // of a caller who stops listening
    exited.catch(() => {});
    using oom = watchOom(this.#cgroup);
    try {
      for (;;) {
        const status = await Promise.race([exited, oom.next()]);
        // the cgroup may be gone by the time of the exit; the status knows
        const kills = Math.max(this.#cgroup.oomKills(), status?.oomKilled && seen === 0 ? 1 : 0);
        if (kills > seen) {
          seen = kills;
          yield { type: 'oom', at: status?.exitedAt ?? new Date() };
        }
        if (!status) continue;
        yield { type: 'exit', at: status.exitedAt, status };
        return;
      }
    } finally {
      stop.abort();
    }
  }

  resize(size: { columns: number; rows: number }, options?: CallOptions): Promise<void> {
    return this.#process.resize(size, options);
  }

  attach(options?: { stdin?: boolean; signal?: AbortSignal }): Promise<Attachment> {
    return this.#process.attach(options);
  }

  async exec(options: ExecOptions): Promise<ExecProcess> {
    options.signal?.throwIfAborted();
    if (options.id !== undefined) checkId(options.id);
    this.#expect(PHASE.RUNNING, 'execute a process in');
    // it would be frozen too, before it could say anything
    if (this.#cgroup.frozen()) {
      throw new RuntimeError(
        'INVALID_STATE',
        `cannot execute a process in container ${this.id}: it is paused`,
      );
    }
    const target = this.#state.pid(this.id);
    if (!target) throw new RuntimeError('NOT_FOUND', `container ${this.id} is gone`);
    const cgroups = placementOf(this.#cgroup);
    const exec = {
      id: this.id,
      spec: this.spec,
      process: target,
      directory: this.#process.directory,
      cgroups,
      rdt: this.#record.rdt,
      subject: this.#subject(),
    };
    try {
      return await launchExec(exec, options);
    } catch (error) {
      const busy = RuntimeError.is(error) && error.syscall === 'clone3' && error.errnoCode === 'EBUSY';
      const leaf = busy ? this.#cgroup.leafOf(target.pid) : undefined;
      if (leaf === undefined || !cgroups) throw error;
      // an init system in there has divided the cgroup, and nobody may live in it but in its parts
      return launchExec({ ...exec, cgroups: { ...cgroups, birth: leaf } }, options);
    }
  }

  async execs(options: CallOptions = {}): Promise<ExecProcess[]> {
    options.signal?.throwIfAborted();
    return findExecs(this.id, this.#process.directory);
  }

  async delete(options: { force?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    const { force = false, signal } = options;
    signal?.throwIfAborted();
    if (!this.#process.exit) {
      if (!force) {
        throw new RuntimeError(
          'STILL_RUNNING',
          `container ${this.id} is ${this.#status()}: stop it first, or delete it with force`,
        );
      }
      // through the cgroup first: that reaches also who is frozen, and thaws
      await this.#cgroup.kill(SIGKILL);
      await this.#process.wait(signal ? { signal } : {});
    }
    // processes that outlived the first one, in a pid namespace that is not the container's own
    if (this.#cgroup.pids().length > 0) await this.#cgroup.kill(SIGKILL);
    await this.#cgroup.remove();
    if (this.#record.rdt) removeRdtGroups(this.#record.rdt);
    this.#process.release();
    this.#state.remove(this.id);
    await runPoststop({ spec: this.spec, subject: this.#subject(), signal }, this.#warn);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.release();
  }
}
