/**
 * What the cgroup of a container is, one interface over version 1, hybrid and version 2.
 *
 * A cgroup is a path (`/tare/<id>`) below the root of every hierarchy. Making one, limiting it and reading it are plain
 * synchronous file calls, microseconds each; what may have to wait for the kernel is a promise.
 */
import type { ContainerStats } from '../runtime.ts';
import type { LinuxResources } from '../spec/index.ts';

/** Where a process must be put to be in the cgroup. */
export interface CgroupPlacement {
  /** Version 1: folders, one a hierarchy; the process is to be written to `cgroup.procs` (or `tasks`) in each. */
  v1: readonly string[];
  /** Version 2: the folder to be born in (clone3 with CLONE_INTO_CGROUP) or moved to. */
  v2: string | undefined;
  /** File with an `oom_kill` line: memory.oom_control or memory.events. */
  oomEvents: string | undefined;
}

/** The cgroup of one container. The object holds nothing open; the cgroup lives until {@link Cgroup.remove}. */
export interface Cgroup {
  /** Below the root of each hierarchy, for example `/tare/abc`. */
  readonly path: string;
  readonly placement: CgroupPlacement;
  /** Makes it, as {@link createCgroup} does. */
  create(): void;
  /**
   * Sets limits; what is left out, and 0 where the spec takes that as "not set", keeps its value.
   *
   * @throws {RuntimeError} `UNSUPPORTED` when this machine has no controller for a limit, `INVALID_SPEC`, `CGROUP_FAILED`
   */
  apply(resources: LinuxResources): void;
  /**
   * Gives the cgroup to a user, who may then divide it among its processes. Version 2 alone; otherwise does nothing, for
   * version 1 is not safe to be given away.
   *
   * @throws {RuntimeError} `CGROUP_FAILED`
   */
  delegate(uid: number): void;
  /** Moves a running process, with all its threads. @throws {RuntimeError} `CGROUP_FAILED` */
  add(pid: number): void;
  /** Every process of the cgroup and of those that the container made below it. */
  pids(): number[];
  /**
   * The version 2 folder where a process of the cgroup is now: the cgroup's or one below it, which the container made.
   * Undefined where there is no version 2, or when the process is gone.
   */
  leafOf(pid: number): string | undefined;
  /**
   * Stops every process until {@link thaw}; resolves when they have stopped. Those that do not within `timeoutMs`
   * (default ten seconds), or before the signal aborts, go on with all others.
   *
   * @throws {RuntimeError} `CGROUP_FAILED` when the time is up
   */
  freeze(options?: { signal?: AbortSignal; timeoutMs?: number }): Promise<void>;
  thaw(): Promise<void>;
  frozen(): boolean;
  /** Sends a signal to every process. SIGKILL (the default) reaches also frozen ones and those being forked. */
  kill(signal?: number): Promise<void>;
  /** Resource use; fields of absent controllers are undefined. */
  stats(): ContainerStats;
  /** How many processes the OOM killer has killed in here; 0 when nobody counts. */
  oomKills(): number;
  /**
   * Removes the cgroup and those below it, waiting a little for processes that are just ending. Removing twice is fine.
   *
   * @throws {RuntimeError} `STILL_RUNNING` when processes remain
   */
  remove(): Promise<void>;
}
