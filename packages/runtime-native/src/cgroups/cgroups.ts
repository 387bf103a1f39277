/**
 * The cgroup of a container, one interface over version 1, hybrid and version 2.
 *
 * A cgroup is a path (`/tare/<id>`) below the root of every hierarchy. Making one, limiting it and reading it are plain
 * synchronous file calls, microseconds each; what may have to wait for the kernel is a promise.
 */
import {
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  statSync,
} from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { load } from '#binding';
import { RuntimeError } from '../errors.ts';
import type { ContainerStats } from '../runtime.ts';
import type { LinuxResources } from '../spec/index.ts';
import { compileDeviceRules } from './devices-program.ts';
import { NEEDS } from './controllers.ts';
import { failure, isMissing, keyValues, read, readOptional, write, writeOptional } from './files.ts';
import { detectCgroups } from './layout.ts';
import type { CgroupLayout } from './layout.ts';
import { signalAll } from './signal.ts';
import { cpuV1, cpuV2, ioV1, ioV2, memoryV1, memoryV2, pidsOf } from './stats.ts';
import { applyV1, inheritCpuset } from './v1.ts';
import { applyV2 } from './v2.ts';

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

/** How long a vanishing process may keep its cgroup busy before that is an error. */
const REMOVE_TIMEOUT_MS = 5000;
/** Freezing waits for the slowest system call in there; a process in an uninterruptible one can hold it up for long. */
const FREEZE_TIMEOUT_MS = 10_000;
const SIGKILL = 9;
/** What a kernel without `/sys/kernel/cgroup/delegate` has. */
const DELEGATED_FILES = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'];

let cachedLayout: CgroupLayout | undefined;

/** Options of {@link createCgroup} and {@link openCgroup}. */
export interface CgroupOptions {
  /** Default: this machine's, looked at once a process. */
  layout?: CgroupLayout;
}

/**
 * Makes the cgroup in every hierarchy, with the ones above it where they are missing.
 *
 * @param path absolute, below the hierarchies' roots, for example `/tare/abc`
 * @throws {RuntimeError} `INVALID_SPEC` for a path that leaves the root, `ALREADY_EXISTS` when processes live there,
 *   `CGROUP_FAILED`; nothing is left behind
 */
export function createCgroup(path: string, options: CgroupOptions = {}): Cgroup {
  const cgroup = new HostCgroup(path, layoutFor(options));
  cgroup.create();
  return cgroup;
}

/** The object for a cgroup that was made before; does not look whether it is there. */
export function openCgroup(path: string, options: CgroupOptions = {}): Cgroup {
  return new HostCgroup(path, layoutFor(options));
}

/**
 * Removes the cgroups below `path`, and itself, that hold no process: after a crash, or at the end of an engine that owns
 * the path.
 */
export function sweepCgroups(path: string, options: CgroupOptions = {}): void {
  for (const { folder } of foldersOf(path, layoutFor(options))) removeEmpty(folder);
}

function layoutFor(options: CgroupOptions): CgroupLayout {
  return options.layout ?? (cachedLayout ??= detectCgroups());
}

interface Folder {
  version: 1 | 2;
  mountPoint: string;
  controllers: readonly string[];
  folder: string;
}

function foldersOf(path: string, layout: CgroupLayout): Folder[] {
  const parts = path.split('/').slice(1);
  const bad = parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'));
  if (!path.startsWith('/') || bad) {
    throw new RuntimeError(
      'INVALID_SPEC',
      `'${path}' is not a cgroup path: it must be absolute, below the root, and free of '.' and '..'`,
      { field: 'linux.cgroupsPath' },
    );
  }
  return layout.hierarchies.map((hierarchy) => ({ ...hierarchy, folder: hierarchy.mountPoint + path }));
}

class HostCgroup implements Cgroup {
  readonly path: string;
  readonly placement: CgroupPlacement;
  readonly #folders: readonly Folder[];
  readonly #v2: string | undefined;
  /** Version 2 alone. */
  readonly #pure: boolean;
  readonly #delegated: boolean;
  readonly #byController = new Map<string, Folder>();

  constructor(path: string, layout: CgroupLayout) {
    this.path = path;
    this.#pure = layout.kind === 'v2';
    this.#delegated = layout.delegated ?? false;
    this.#folders = foldersOf(path, layout);
    for (const folder of this.#folders)
      for (const name of folder.controllers) this.#byController.set(name, folder);
    this.#v2 = this.#folders.find((folder) => folder.version === 2)?.folder;
    const memory = this.#byController.get('memory');
    this.placement = {
      v1: this.#folders.filter(({ version }) => version === 1).map(({ folder }) => folder),
      v2: this.#v2,
      oomEvents:
        memory && `${memory.folder}/${memory.version === 1 ? 'memory.oom_control' : 'memory.events'}`,
    };
  }

  create(): void {
    const made: string[] = [];
    try {
      for (const one of this.#folders) {
        if (makeFolder(one, this.path, this.#pure ? (this.#delegated ? 'possible' : 'all') : 'none'))
          made.push(one.folder);
        else if (listPids(one.folder).length > 0) {
          throw new RuntimeError('ALREADY_EXISTS', `the cgroup ${one.folder} is in use`, {
            path: one.folder,
          });
        }
      }
    } catch (error) {
      for (const folder of made) removeEmpty(folder);
      throw error;
    }
  }

  apply(resources: LinuxResources): void {
    const reaches = this.#reaching();
    for (const { field, v1, v2, used } of NEEDS) {
      const found = this.#byController.get(v1) ?? this.#byController.get(v2);
      if ((!found || !reaches(v2)) && used(resources)) {
        throw new RuntimeError(
          'UNSUPPORTED',
          `no cgroup controller here for linux.resources.${field} (${v1})`,
          {
            field: `linux.resources.${field}`,
          },
        );
      }
    }
    for (const [name, { version, folder }] of this.#byController) {
      if (version === 2 && NEEDS.some((need) => need.v2 === name && need.used(resources))) this.#enable(name);
      (version === 1 ? applyV1 : applyV2)[name]?.(folder, resources);
    }
    if (resources.devices && resources.devices.length > 0 && !this.#byController.has('devices')) {
      this.#applyDevices(resources.devices);
    }
    for (const [file, value] of Object.entries(resources.unified ?? {})) this.#applyUnified(file, value);
  }

  /** Beside version 1 the controllers that are left to version 2 are handed down only where they are used. */
  #enable(controller: string): void {
    const hierarchy = this.#folders.find(({ version }) => version === 2);
    if (this.#pure || !hierarchy?.controllers.includes(controller)) return;
    enableControllers(hierarchy, hierarchy.folder, [controller], 'all');
  }

  /** Which controllers of version 2 the cgroup has: somebody may live in a delegated one, which then hands none on. */
  #reaching(): (controller: string) => boolean {
    if (!this.#delegated || this.#v2 === undefined) return () => true;
    const names = read(`${this.#v2}/cgroup.controllers`).trim().split(' ');
    return (controller) => names.includes(controller);
  }

  #applyDevices(devices: NonNullable<LinuxResources['devices']>): void {
    if (this.#v2 === undefined) {
      throw new RuntimeError(
        'UNSUPPORTED',
        'no cgroup controller here for linux.resources.devices (devices)',
        {
          field: 'linux.resources.devices',
        },
      );
    }
    const fd = openSync(this.#v2, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      load().setCgroupDevices(fd, compileDeviceRules(devices));
    } catch (error) {
      throw failure('attach the device program to', this.#v2, error);
    } finally {
      closeSync(fd);
    }
  }

  #applyUnified(file: string, value: string): void {
    const field = `linux.resources.unified["${file}"]`;
    if (file === '' || file.includes('/') || file.startsWith('.')) {
      throw new RuntimeError('INVALID_SPEC', `${field} is not the name of a cgroup file`, { field });
    }
    if (this.#v2 === undefined) {
      throw new RuntimeError('UNSUPPORTED', `${field} needs cgroup version 2, which is not mounted here`, {
        field,
      });
    }
    this.#enable(file.slice(0, file.indexOf('.')));
    write(`${this.#v2}/${file}`, value);
  }

  delegate(uid: number): void {
    if (!this.#pure || this.#v2 === undefined) return;
    const files = readOptional('/sys/kernel/cgroup/delegate')?.split('\n').filter(Boolean);
    for (const file of ['.', ...(files ?? DELEGATED_FILES)]) {
      const path = `${this.#v2}/${file}`;
      try {
        chownSync(path, uid, -1);
      } catch (error) {
        // the list is of every controller
        if (!isMissing(error)) throw failure('give away', path, error);
      }
    }
  }

  add(pid: number): void {
    for (const { folder } of this.#folders) write(`${folder}/cgroup.procs`, String(pid));
  }

  pids(): number[] {
    return listPids(this.#processFolder());
  }

  leafOf(pid: number): string | undefined {
    const path = /^0::(.*)$/m.exec(readOptional(`/proc/${pid}/cgroup`) ?? '')?.[1];
    if (this.#v2 === undefined || !`${path}/`.startsWith(`${this.path}/`)) return undefined;
    return this.#v2 + path!.slice(this.path.length);
  }

  /** The hierarchy that is asked for processes. A container cannot leave the ones of limits, unlike the unified one. */
  #processFolder(): string {
    return (this.#byController.get('pids') ?? this.#folders[0]!).folder;
  }

  async freeze(options: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    const { timeoutMs = FREEZE_TIMEOUT_MS } = options;
    this.#setFrozen(true);
    const deadline = performance.now() + timeoutMs;
    try {
      for (let wait = 1; !this.frozen(); wait = Math.min(wait * 2, 100)) {
        if (performance.now() > deadline) {
          throw new RuntimeError('CGROUP_FAILED', `the processes of ${this.path} did not freeze in time`, {
            path: this.path,
          });
        }
        await delay(wait, undefined, options);
        // version 1 gives up on tasks that were forking: ask again
        this.#setFrozen(true);
      }
    } catch (error) {
      this.#setFrozen(false);
      throw options.signal?.aborted ? options.signal.reason : error;
    }
  }

  async thaw(): Promise<void> {
    this.#setFrozen(false);
  }

  frozen(): boolean {
    if (this.#v2 !== undefined) {
      const events = readOptional(`${this.#v2}/cgroup.events`);
      if (events !== undefined) return keyValues(events)['frozen'] === 1n;
    }
    const freezer = this.#byController.get('freezer');
    return freezer !== undefined && readOptional(`${freezer.folder}/freezer.state`)?.trim() === 'FROZEN';
  }

  /** Version 2's freezer wherever it is: what it froze can be killed, unlike with version 1's. */
  #setFrozen(frozen: boolean): void {
    if (this.#v2 !== undefined && writeOptional(`${this.#v2}/cgroup.freeze`, frozen ? '1' : '0')) return;
    const freezer = this.#byController.get('freezer');
    if (freezer) write(`${freezer.folder}/freezer.state`, frozen ? 'FROZEN' : 'THAWED');
    else throw new RuntimeError('UNSUPPORTED', 'this kernel has no freezer for cgroups');
  }

  async kill(signal = SIGKILL): Promise<void> {
    if (signal !== SIGKILL) {
      signalAll(this.pids(), signal);
      return;
    }
    // Linux 5.14
    if (this.#v2 !== undefined) writeOptional(`${this.#v2}/cgroup.kill`, '1');
    const remaining = this.pids();
    if (remaining.length === 0) return;
    if (this.#v2 !== undefined && this.#byController.get('pids')?.folder === this.#v2) return;

    // Version 1: freeze so that no fork escapes, signal, thaw so that the signal can act.
    const freezer = this.#byController.get('freezer');
    const state = freezer && `${freezer.folder}/freezer.state`;
    if (state) writeOptional(state, 'FROZEN');
    try {
      signalAll(this.pids(), SIGKILL);
    } finally {
      if (state) writeOptional(state, 'THAWED');
    }
    // freezing may have been too slow for a fork bomb: until nobody is left who was not signalled
    const signalled = new Set(remaining);
    for (let round = 0; round < 100; round++) {
      const fresh = this.pids().filter((pid) => !signalled.has(pid));
      if (fresh.length === 0) return;
      signalAll(fresh, SIGKILL);
      for (const pid of fresh) signalled.add(pid);
      await delay(1);
    }
  }

  stats(): ContainerStats {
    const of = (v1: string, v2 = v1): Folder | undefined =>
      this.#byController.get(v1) ?? this.#byController.get(v2);
    const memory = of('memory');
    const io = of('blkio', 'io');
    const pids = of('pids');
    const cpuacct = this.#byController.get('cpuacct');
    const cpu = cpuacct
      ? cpuV1(cpuacct.folder, this.#byController.get('cpu')?.folder)
      : this.#v2 === undefined
        ? undefined
        : cpuV2(this.#v2);
    const values = {
      cpu,
      memory: memory && (memory.version === 1 ? memoryV1 : memoryV2)(memory.folder),
      pids: pids && pidsOf(pids.folder),
      io: io && (io.version === 1 ? ioV1 : ioV2)(io.folder),
    };
    const stats: ContainerStats = { readAt: new Date() };
    if (values.cpu) stats.cpu = values.cpu;
    if (values.memory) stats.memory = values.memory;
    if (values.pids) stats.pids = values.pids;
    if (values.io) stats.io = values.io;
    return stats;
  }

  oomKills(): number {
    const file = this.placement.oomEvents;
    const text = file === undefined ? undefined : readOptional(file);
    return text === undefined ? 0 : Number(keyValues(text)['oom_kill'] ?? 0n);
  }

  async remove(): Promise<void> {
    const deadline = performance.now() + REMOVE_TIMEOUT_MS;
    for (const { folder } of this.#folders) {
      for (let wait = 1; !removeEmpty(folder); wait = Math.min(wait * 2, 50)) {
        if (performance.now() > deadline) {
          const pids = listPids(folder);
          throw new RuntimeError(
            'STILL_RUNNING',
            `the cgroup ${folder} is busy: processes ${pids.join(', ')}`,
            {
              path: folder,
            },
          );
        }
        await delay(wait);
      }
    }
  }
}

/** Which of the controllers a new cgroup shall have: `possible` are those that nobody above is in the way of. */
type Enable = 'none' | 'possible' | 'all';

/** Makes a folder and its parents, each ready for the next. False when it was there. */
function makeFolder(hierarchy: Folder, path: string, enable: Enable): boolean {
  // the common case: only the last part is missing
  const { folder } = hierarchy;
  const cut = folder.lastIndexOf('/');
  const parent = folder.slice(0, cut);
  // a sweep may take a parent away between the two calls
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(folder);
      break;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (code !== 'ENOENT' || parent.length < hierarchy.mountPoint.length || attempt > 8) {
        throw failure('make', folder, error);
      }
      const parentPath = path.slice(0, path.lastIndexOf('/'));
      if (parentPath !== '') makeFolder({ ...hierarchy, folder: parent }, parentPath, enable);
    }
  }
  try {
    if (hierarchy.controllers.includes('cpuset') && hierarchy.version === 1) inheritCpuset(folder, parent);
    // with no version 1 beside it; what little the unified hierarchy of a hybrid layout has is enabled where it is used
    if (enable !== 'none') enableControllers(hierarchy, folder, hierarchy.controllers, enable);
  } catch (error) {
    removeEmpty(folder);
    throw error;
  }
  return true;
}

/** A version 2 cgroup has the controllers that its parent hands down; each level must. */
function enableControllers(
  hierarchy: Folder,
  folder: string,
  wanted: readonly string[],
  enable: Enable,
): void {
  const missing = (level: string): string[] => {
    const there = read(`${level}/cgroup.subtree_control`).trim().split(' ');
    return read(`${level}/cgroup.controllers`)
      .trim()
      .split(' ')
      .filter((name) => name !== '' && wanted.includes(name) && !there.includes(name));
  };
  const levels: string[] = [];
  for (let at = folder; at.length > hierarchy.mountPoint.length;) {
    at = at.slice(0, at.lastIndexOf('/'));
    levels.unshift(at);
  }
  for (const level of levels) {
    const names = missing(level);
    if (names.length > 0) handDown(level, names, enable);
  }
}

/** Processes in a cgroup keep it from handing controllers down. */
function handDown(level: string, names: readonly string[], enable: Enable): void {
  try {
    write(`${level}/cgroup.subtree_control`, names.map((name) => `+${name}`).join(' '));
  } catch (error) {
    const busy = RuntimeError.is(error) && error.errnoCode === 'EBUSY';
    if (!busy || enable === 'all') throw error;
  }
}

/** Removes a cgroup and those below it. False when one is busy; true also when it is not there. */
function removeEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return true;
    if (code !== 'EBUSY' && code !== 'ENOTEMPTY') throw failure('remove', folder, error);
  }
  const children = subfolders(folder);
  if (children.length === 0) return false;
  return children.map(removeEmpty).every(Boolean) && removeEmpty(folder);
}

function listPids(folder: string): number[] {
  const text = readOptional(`${folder}/cgroup.procs`);
  if (text === undefined) return [];
  const pids = text.split('\n').filter(Boolean).map(Number);
  for (const child of subfolders(folder)) pids.push(...listPids(child));
  return pids;
}

function subfolders(folder: string): string[] {
  try {
    // a folder's link count is 2 and one more for each folder in it: saves reading the 30 files of most cgroups
    if (statSync(folder).nlink <= 2) return [];
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}`);
  } catch (error) {
    if (isMissing(error)) return [];
    throw failure('list', folder, error);
  }
}
