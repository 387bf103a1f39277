/** A cgroup of this machine, whatever the versions of its hierarchies. */
import { chownSync, closeSync, constants, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { load } from '#binding';
import { RuntimeError } from '../errors.ts';
import type { ContainerStats } from '../runtime.ts';
import type { LinuxResources } from '../spec/index.ts';
import type { Cgroup, CgroupPlacement } from './cgroup.ts';
import { compileDeviceRules } from './devices-program.ts';
import { NEEDS } from './controllers.ts';
import { failure, isMissing, keyValues, read, readOptional, write, writeOptional } from './files.ts';
import type { CgroupLayout } from './layout.ts';
import { signalAll } from './signal.ts';
import { cpuV1, cpuV2, ioV1, ioV2, memoryV1, memoryV2, pidsOf } from './stats.ts';
import { enableControllers, foldersOf, listPids, makeFolder, removeEmpty } from './tree.ts';
import type { Enable, Folder } from './tree.ts';
import { applyV1 } from './v1.ts';
import { applyV2 } from './v2.ts';

/** How long a vanishing process may keep its cgroup busy before that is an error. */
const REMOVE_TIMEOUT_MS = 5000;
/** Freezing waits for the slowest system call in there; a process in an uninterruptible one can hold it up for long. */
const FREEZE_TIMEOUT_MS = 10_000;
const SIGKILL = 9;
/** What a kernel without `/sys/kernel/cgroup/delegate` has. */
const DELEGATED_FILES = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'];

/** See {@link Cgroup}. */
export class HostCgroup implements Cgroup {
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
    const enable: Enable = !this.#pure ? 'none' : this.#delegated ? 'possible' : 'all';
    try {
      for (const one of this.#folders) {
        if (makeFolder(one, this.path, enable)) made.push(one.folder);
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
