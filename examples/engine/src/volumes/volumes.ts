/** Volumes of the `local` driver: directories that outlive containers, and what is mounted over them while in use. */
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { checkVolumeName } from '../containers/mounts.ts';
import { Mutex } from '../containers/mutex.ts';
import { newId } from '../containers/names.ts';
import { conflict, EngineError, messageOf, notFound, systemError } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { Filters } from '../filters.ts';
import type { VolumeRecord, VolumesTable } from '../state/volumes-table.ts';
import { formatTime } from '../time.ts';
import {
  checkLocalOptions,
  localMount,
  namedAddress,
  withAddress,
  type VolumeMount,
} from './local-options.ts';

/** Marks a volume that nobody named; `volume prune` takes only those. */
const ANONYMOUS_LABEL = 'com.docker.volume.anonymous';
/** Where a volume's first content is gathered, beside `_data`. */
const STAGING = '_new';

/** What `POST /volumes/create` asks for. */
export interface VolumeRequest {
  /** Random when empty. */
  name: string;
  driver: string;
  labels?: Record<string, string> | undefined;
  options?: Record<string, string> | undefined;
}

/** Mounts of this machine's own. */
export interface HostMounts {
  /** Mounts in order at `target`, an existing directory, or file for a bind mount of one. All or nothing. */
  mount(mounts: readonly VolumeMount[], target: string): void;
  /** Takes everything away that is mounted at `target`; those who use it finish. Nothing there is fine. */
  unmount(target: string): void;
  /** Everything mounted, parents first, with its propagation (`shared:N`, `master:N`; empty when private). */
  table(): { target: string; propagation: readonly string[] }[];
}

/** What the volumes are made with. */
export interface VolumesOptions {
  table: VolumesTable;
  hostMounts: HostMounts;
  events: EventBus;
  /** Directory that holds one directory per volume. */
  root: string;
  /** Ids of the containers that use a volume. */
  users(name: string): string[];
}

/** The volumes of this engine. */
export class Volumes {
  readonly #options: VolumesOptions;
  readonly #volumes = new Map<string, VolumeRecord>();
  /** Running containers by the volume, with options, that is mounted for them. */
  readonly #mountedFor = new Map<string, Set<string>>();
  /** Held while a volume is mounted, unmounted, filled or removed. */
  readonly #locks = new Map<string, Mutex>();

  constructor(options: VolumesOptions) {
    this.#options = options;
    for (const volume of options.table.list()) this.#volumes.set(volume.name, volume);
  }

  /** Where the volume's files are. */
  mountpoint(name: string): string {
    return join(this.#options.root, name, '_data');
  }

  /**
   * Makes a volume; one of that name is returned as it is.
   *
   * @throws {EngineError} `INVALID` for a name or options that are none; `NOT_FOUND` for another driver;
   *   `NOT_IMPLEMENTED` for a network file system that this kernel lacks
   */
  async create(request: VolumeRequest): Promise<VolumeRecord> {
    const { driver, options } = request;
    if (driver !== '' && driver !== 'local') {
      throw notFound(`error looking up volume plugin ${driver}: plugin "${driver}" not found`);
    }
    const anonymous = request.name === '';
    const name = anonymous ? newId() : request.name;
    const existing = this.#volumes.get(name);
    if (existing) return existing;
    checkVolumeName(name);
    this.#checkOptions(name, options);
    const labels = anonymous ? { ...request.labels, [ANONYMOUS_LABEL]: '' } : (request.labels ?? null);
    return this.#make({ name, labels, options: options ?? null, anonymous });
  }

  /** The volume of a container's mount, made when it is not there. Errors as {@link Volumes.create}. */
  async forMount(
    name: string,
    given: {
      anonymous: boolean;
      labels?: Record<string, string> | undefined;
      options?: Record<string, string> | undefined;
    },
  ): Promise<VolumeRecord> {
    const existing = this.#volumes.get(name);
    if (existing) return existing;
    checkVolumeName(name);
    this.#checkOptions(name, given.options);
    const labels = given.anonymous ? { ...given.labels, [ANONYMOUS_LABEL]: '' } : (given.labels ?? null);
    return this.#make({ name, labels, options: given.options ?? null, anonymous: given.anonymous });
  }

  #checkOptions(name: string, options: Record<string, string> = {}): void {
    try {
      checkLocalOptions(options, readFileSync('/proc/filesystems', 'utf8'));
    } catch (error) {
      throw error instanceof EngineError ? error.prefixed(`create ${name}: `) : error;
    }
  }

  /**
   * Has a volume's file system mounted while a container runs. A volume without options has nothing to mount.
   *
   * @throws {EngineError} `SYSTEM` when it cannot be mounted
   */
  async acquire(name: string, containerId: string): Promise<void> {
    const wanted = localMount(this.get(name).options);
    if (!wanted) return;
    using _lock = await this.#lock(name);
    const users = this.#mountedFor.get(name) ?? new Set();
    this.#mountedFor.set(name, users);
    // the first one mounts; what an earlier engine had mounted is still there
    if (users.size === 0 && !this.#isMounted(name)) await this.#mount(name, wanted);
    users.add(containerId);
  }

  /** Takes note of what a container holds that an earlier engine started. */
  reacquire(names: readonly string[], containerId: string): void {
    for (const name of names) {
      if (!localMount(this.#volumes.get(name)?.options ?? null)) continue;
      const users = this.#mountedFor.get(name) ?? new Set();
      this.#mountedFor.set(name, users.add(containerId));
    }
  }

  /** Undoes every {@link Volumes.acquire} of a container; the last user of a volume unmounts it. */
  async release(containerId: string): Promise<void> {
    for (const [name, users] of this.#mountedFor) {
      if (!users.has(containerId)) continue;
      using _lock = await this.#lock(name);
      users.delete(containerId);
      if (users.size > 0) continue;
      this.#options.hostMounts.unmount(this.mountpoint(name));
      this.#mountedFor.delete(name);
    }
  }

  async #mount(name: string, wanted: VolumeMount): Promise<void> {
    const { type, source, options } = wanted;
    try {
      const host = namedAddress(wanted);
      const mount = host === undefined ? wanted : withAddress(wanted, (await lookup(host)).address);
      this.#options.hostMounts.mount([mount], this.mountpoint(name));
    } catch (error) {
      throw systemError(
        `error while mounting volume '${this.mountpoint(name)}': failed to mount local volume: ` +
          `mount ${source}:${this.mountpoint(name)}, type: ${type}, options: ${options.join(',')}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  #isMounted(name: string): boolean {
    const path = this.mountpoint(name);
    return this.#options.hostMounts.table().some(({ target }) => target === path);
  }

  async #lock(name: string): Promise<Disposable> {
    let lock = this.#locks.get(name);
    if (!lock) this.#locks.set(name, (lock = new Mutex()));
    return lock.acquire();
  }

  /**
   * Fills a volume that is empty and is its own directory. Whoever else wants to fill it waits; what `fill` leaves
   * undone is never seen, also not after a crash.
   *
   * @param fill - puts files into the directory it is given; false when there are none
   */
  async populate(name: string, fill: (directory: string) => Promise<boolean>): Promise<void> {
    using _lock = await this.#lock(name);
    if (localMount(this.get(name).options)) return;
    const data = this.mountpoint(name);
    if ((await readdir(data)).length > 0) return;
    const staging = join(this.#options.root, name, STAGING);
    await rm(staging, { recursive: true, force: true });
    try {
      await mkdir(staging, { mode: 0o755 });
      // rename(2) replaces an empty directory
      if (await fill(staging)) await rename(staging, data);
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
  }

  async #make(input: Omit<VolumeRecord, 'created'>): Promise<VolumeRecord> {
    await mkdir(this.mountpoint(input.name), { recursive: true, mode: 0o755 });
    // two requests for one name meet here; the first row is the volume
    const other = this.#volumes.get(input.name);
    if (other) return other;
    // whole seconds, as dockerd shows a volume's age
    const created = formatTime(new Date(Math.floor(Date.now() / 1000) * 1000));
    const record: VolumeRecord = { ...input, created };
    this.#options.table.insert(record);
    this.#volumes.set(record.name, record);
    this.#publish('create', record.name);
    return record;
  }

  /** @throws {EngineError} `NOT_FOUND` */
  get(name: string): VolumeRecord {
    const volume = this.#volumes.get(name);
    if (!volume) throw notFound(`get ${name}: no such volume`);
    return volume;
  }

  has(name: string): boolean {
    return this.#volumes.has(name);
  }

  list(filters: Filters): VolumeRecord[] {
    const dangling = filters.bool('dangling');
    return [...this.#volumes.values()]
      .filter(
        ({ name, labels }) =>
          filters.any('name', (value) => name.includes(value)) &&
          filters.any('driver', (value) => value === 'local') &&
          filters.matchesLabels(labels) &&
          (dangling === undefined || (this.#options.users(name).length === 0) === dangling),
      )
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Removes a volume and its files.
   *
   * @throws {EngineError} `NOT_FOUND` unless `force`; `CONFLICT` while a container uses it
   */
  async remove(name: string, options: { force?: boolean } = {}): Promise<void> {
    if (!this.#volumes.has(name) && options.force) return;
    this.get(name);
    const users = this.#options.users(name);
    if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(', ')}]`);
    {
      using _lock = await this.#lock(name);
      this.#options.hostMounts.unmount(this.mountpoint(name));
      this.#refuseMounts(name);
      // the row goes last: a crash in between leaves a volume that can be removed again
      await rm(join(this.#options.root, name), { recursive: true, force: true });
    }
    this.#locks.delete(name);
    this.#options.table.remove(name);
    this.#volumes.delete(name);
    this.#publish('destroy', name);
  }

  /** What somebody mounted into a volume is not the volume's, and must not be removed with it. */
  #refuseMounts(name: string): void {
    const below = `${this.mountpoint(name)}/`;
    const inside = this.#options.hostMounts.table().find(({ target }) => `${target}/`.startsWith(below));
    if (inside) throw conflict(`remove ${name}: ${inside.target} is mounted: unmount it first`);
  }

  /** Removes what no container uses: anonymous volumes, or with `all` every one. */
  async prune(filters: Filters, all: boolean): Promise<{ deleted: string[]; spaceReclaimed: number }> {
    const deleted: string[] = [];
    let spaceReclaimed = 0;
    for (const { name, labels, anonymous } of this.#volumes.values()) {
      if (!(all || anonymous) || !filters.matchesLabels(labels)) continue;
      if (this.#options.users(name).length > 0) continue;
      const size = Math.max(0, await this.size(name));
      await this.remove(name);
      deleted.push(name);
      spaceReclaimed += size;
    }
    return { deleted, spaceReclaimed };
  }

  /** Bytes that a volume's files take; -1 for one whose files lie elsewhere, on what its options mount. */
  async size(name: string): Promise<number> {
    return localMount(this.get(name).options) ? -1 : directorySize(this.mountpoint(name));
  }

  /**
   * Clears up after a crash: directories of volumes that were never recorded, content half copied, file systems of
   * volumes that no running container has acquired.
   */
  async sweep(): Promise<void> {
    await mkdir(this.#options.root, { recursive: true, mode: 0o711 });
    for (const { name, options } of this.#volumes.values()) {
      if (localMount(options)) {
        if (!this.#mountedFor.has(name)) this.#options.hostMounts.unmount(this.mountpoint(name));
      } else await rm(join(this.#options.root, name, STAGING), { recursive: true, force: true });
    }
    for (const name of await readdir(this.#options.root)) {
      if (this.#volumes.has(name)) continue;
      // only an empty one: files here without a row belong to somebody, so they stay
      const data = await readdir(join(this.#options.root, name, '_data')).catch(() => ['?']);
      if (data.length === 0) await rm(join(this.#options.root, name), { recursive: true, force: true });
    }
  }

  #publish(action: string, name: string): void {
    this.#options.events.publish({ type: 'volume', action, id: name, attributes: { driver: 'local' } });
  }
}

/** Bytes of the regular files below a directory. Files that vanish meanwhile do not count. */
export async function directorySize(path: string): Promise<number> {
  let total = 0;
  const pending = [path];
  const seen = new Set<string>();
  for (let current = pending.pop(); current !== undefined; current = pending.pop()) {
    const entries = await readdir(current, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const child = join(current, entry.name);
      if (entry.isDirectory()) pending.push(child);
      else if (entry.isFile()) {
        const stat = await lstat(child).catch(() => undefined);
        // hard links count once
        if (stat && (stat.nlink === 1 || !seen.has(`${stat.dev}:${stat.ino}`))) {
          seen.add(`${stat.dev}:${stat.ino}`);
          total += stat.size;
        }
      }
    }
  }
  return total;
}
