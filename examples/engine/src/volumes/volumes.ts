/** Volumes of the `local` driver: directories that outlive containers. */
import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { checkVolumeName } from '../containers/mounts.ts';
import { newId } from '../containers/names.ts';
import { conflict, invalid, notFound, notImplemented } from '../errors.ts';
import type { EventBus } from '../events/event-bus.ts';
import type { Filters } from '../filters.ts';
import type { VolumeRecord, VolumesTable } from '../state/volumes-table.ts';
import { formatTime } from '../time.ts';

/** Marks a volume that nobody named; `volume prune` takes only those. */
const ANONYMOUS_LABEL = 'com.docker.volume.anonymous';

/** What `POST /volumes/create` asks for. */
export interface VolumeRequest {
  /** Random when empty. */
  name: string;
  driver: string;
  labels?: Record<string, string> | undefined;
  options?: Record<string, string> | undefined;
}

/** What the volumes are made with. */
export interface VolumesOptions {
  table: VolumesTable;
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
   * @throws {EngineError} `INVALID` for a name that is none; `NOT_IMPLEMENTED` for another driver or mount options
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
    if (options && Object.keys(options).length > 0) {
      const unknown = Object.keys(options).find((key) => !['type', 'device', 'o', 'size'].includes(key));
      if (unknown !== undefined) throw invalid(`create ${name}: invalid option: "${unknown}"`);
      throw notImplemented('options of local volumes are not supported by this engine yet');
    }
    const labels = anonymous ? { ...request.labels, [ANONYMOUS_LABEL]: '' } : (request.labels ?? null);
    return this.#make({ name, labels, options: options ?? null, anonymous });
  }

  /** The volume of a container's mount, made when it is not there. */
  async forMount(name: string, anonymous: boolean, labels?: Record<string, string>): Promise<VolumeRecord> {
    const existing = this.#volumes.get(name);
    if (existing) return existing;
    checkVolumeName(name);
    const own = anonymous ? { [ANONYMOUS_LABEL]: '' } : (labels ?? null);
    return this.#make({ name, labels: own, options: null, anonymous });
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
    // the row goes last: a crash in between leaves a volume that can be removed again
    await rm(join(this.#options.root, name), { recursive: true, force: true });
    this.#options.table.remove(name);
    this.#volumes.delete(name);
    this.#publish('destroy', name);
  }

  /** Removes what no container uses: anonymous volumes, or with `all` every one. */
  async prune(filters: Filters, all: boolean): Promise<{ deleted: string[]; spaceReclaimed: number }> {
    const deleted: string[] = [];
    let spaceReclaimed = 0;
    for (const { name, labels, anonymous } of this.#volumes.values()) {
      if (!(all || anonymous) || !filters.matchesLabels(labels)) continue;
      if (this.#options.users(name).length > 0) continue;
      const size = await directorySize(this.mountpoint(name));
      await this.remove(name);
      deleted.push(name);
      spaceReclaimed += size;
    }
    return { deleted, spaceReclaimed };
  }

  /** Bytes that a volume's files take. */
  size(name: string): Promise<number> {
    return directorySize(this.mountpoint(name));
  }

  /** Removes the directories of volumes that were never recorded: a crash between the two leaves one. */
  async sweep(): Promise<void> {
    await mkdir(this.#options.root, { recursive: true, mode: 0o711 });
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
