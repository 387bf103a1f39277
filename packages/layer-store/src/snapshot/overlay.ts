/**
 * Snapshots for the overlay file system.
 *
 * On disk: `s/<id>/d` is what a snapshot adds to its parents, in the on-disk form of overlay (`s/<id>/w` is overlay's
 * work directory), `m/<name>.json` its record, `t/` what is not finished. Ids are short: the paths of all layers of a
 * container go into one mount. A directory without a record, and a record without a directory, are what a crash left:
 * opening removes them.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { packTree } from '../archive/pack.ts';
import { syncDirectory } from '../content/ingest.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { thisOwner } from '../owner.ts';
import type { ByteString } from '../tar/entry.ts';
import { overlayChanges, type Change } from './changes.ts';
import { lock, removeTree, sweep, unlock } from './housekeeping.ts';
import { LowerStack } from './lower-stack.ts';
import { alreadyExists, SnapshotTable, type SnapshotRecord } from './metadata.ts';
import type { Mount } from './mount.ts';
import { settleImplied } from './settle.ts';
import type { SnapshotInfo, SnapshotOptions, Snapshotter, SnapshotUsage } from './snapshotter.ts';
import type { LayerStager, StagedLayer } from './stage.ts';
import { directoryUsage } from './usage.ts';

/** Options of {@link openOverlaySnapshotter}. */
export interface OverlayOptions extends SnapshotOptions {
  /** Calls that settling a layer needs. */
  fs: LayerFs;
  /** Name space of overlay's own attributes: `'trusted'` (default), or `'user'` to mount in a user namespace. */
  overlayXattrs?: 'trusted' | 'user';
}

/** Length of an id: 36^6 are enough that a collision, which is only tried again, is rare. */
const ID_LENGTH = 6;

/**
 * Opens the snapshots in `root`, making it when it is not there (mode 0700), and removes what a crash left unfinished.
 *
 * One process at a time: the records are cached in memory.
 *
 * @throws {LayerStoreError} `IN_USE` while another process, or another one in this process that is not disposed, has it
 * open; `INVALID_ARGUMENT` for a path that cannot stand in overlay's mount options; `CORRUPT_STORE`
 */
export async function openOverlaySnapshotter(
  root: string,
  options: OverlayOptions,
): Promise<OverlaySnapshotter> {
  options.signal?.throwIfAborted();
  const absolute = resolve(root);
  if (/[:,\\\n]/.test(absolute)) {
    throw new LayerStoreError(
      'INVALID_ARGUMENT',
      `snapshots cannot be kept in ${JSON.stringify(absolute)}: colons, commas and backslashes separate mount options`,
    );
  }
  await mkdir(absolute, { recursive: true, mode: 0o700 });
  for (const name of ['s', 'm', 't']) await mkdir(join(absolute, name), { recursive: true, mode: 0o700 });
  lock(absolute);
  try {
    const table = new SnapshotTable(join(absolute, 'm'), join(absolute, 't'));
    await sweep(absolute, table, options.fs);
    return new OverlaySnapshotter(absolute, table, options);
  } catch (error) {
    unlock(absolute);
    throw error;
  }
}

/** Made by {@link openOverlaySnapshotter}; dispose of it to let others open the same root. */
export class OverlaySnapshotter implements Snapshotter, LayerStager, AsyncDisposable {
  readonly #root: string;
  readonly #table: SnapshotTable;
  readonly #fs: LayerFs;
  readonly #overlayXattrs: 'trusted' | 'user';
  readonly #mountOptions: readonly string[];
  #closed = false;

  /** Use {@link openOverlaySnapshotter}: it takes the lock and sweeps. */
  constructor(root: string, table: SnapshotTable, options: OverlayOptions) {
    this.#root = root;
    this.#table = table;
    this.#fs = options.fs;
    this.#overlayXattrs = options.overlayXattrs ?? 'trusted';
    this.#mountOptions = [...unwantedDefaultsOff(), ...(this.#overlayXattrs === 'user' ? ['userxattr'] : [])];
  }

  async prepare(key: string, parent: string | undefined, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#activate('active', key, parent, options);
  }

  async view(key: string, parent: string | undefined, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#activate('view', key, parent, options);
  }

  async mounts(key: string, options: SnapshotOptions & { readOnly?: boolean } = {}): Promise<Mount[]> {
    this.#check(options);
    const record = this.#table.get(key);
    if (record === undefined || record.kind === 'committed') {
      throw new LayerStoreError('NOT_FOUND', `there is no active snapshot ${key}`);
    }
    return options.readOnly === true
      ? this.#readOnly([this.#layer(record), ...this.#lowers(record.parent)])
      : this.#mountsOf(record);
  }

  async commit(name: string, key: string, options: SnapshotOptions = {}): Promise<void> {
    this.#check(options);
    const active = this.#table.get(key);
    if (active?.kind !== 'active') {
      throw new LayerStoreError('NOT_FOUND', `there is no active snapshot ${key} to commit`);
    }
    const usage = await directoryUsage(this.#layer(active), options.signal);
    await this.#table.addDurable({ ...active, name, kind: 'committed', createdAt: now(), usage });
    // from here on the snapshot is committed: if this process dies now, opening finishes the rest
    this.#table.delete(key);
    await rm(join(this.#directory(active), 'w'), { recursive: true, force: true });
  }

  async remove(name: string, options: SnapshotOptions = {}): Promise<void> {
    this.#check(options);
    const record = this.#table.get(name);
    if (record === undefined) return;
    if (this.#table.hasChildren(name)) {
      throw new LayerStoreError('IN_USE', `snapshot ${name} is the parent of another`);
    }
    // the record first: what is left of the directory if this fails is swept when the store is opened
    this.#table.delete(name);
    await removeTree(this.#directory(record), this.#fs);
  }

  async stat(name: string, options: SnapshotOptions = {}): Promise<SnapshotInfo | undefined> {
    this.#check(options);
    const record = this.#table.get(name);
    return record === undefined ? undefined : toInfo(record);
  }

  async *list(options: SnapshotOptions = {}): AsyncGenerator<SnapshotInfo, void, undefined> {
    this.#check(options);
    for (const record of this.#table.list()) yield toInfo(record);
  }

  async usage(name: string, options: SnapshotOptions = {}): Promise<SnapshotUsage> {
    const record = this.#existing(name, options);
    return record.usage ?? (await directoryUsage(this.#layer(record), options.signal));
  }

  async *changes(name: string, options: SnapshotOptions = {}): AsyncGenerator<Change, void, undefined> {
    const record = this.#existing(name, options);
    const lowers = this.#lowers(record.parent);
    for (const change of overlayChanges(this.#fs, this.#layer(record), lowers, this.#overlayXattrs)) {
      options.signal?.throwIfAborted();
      yield change;
    }
  }

  async *diff(
    name: string,
    options: SnapshotOptions & { without?: ReadonlySet<ByteString>; maxMtimeNs?: bigint | undefined } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const record = this.#existing(name, options);
    const layer = this.#layer(record);
    const [below] = this.#lowers(record.parent);
    const fd = openSync(layer, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      yield* packTree(fd, {
        fs: this.#fs,
        overlayXattrs: this.#overlayXattrs,
        ...(sameRoot(layer, below) ? {} : { as: '.' }),
        ...options,
      });
    } finally {
      closeSync(fd);
    }
  }

  async stage(options: SnapshotOptions = {}): Promise<StagedLayer> {
    this.#check(options);
    const stage = join(this.#root, 't', `${thisOwner}.${randomBytes(6).toString('hex')}`);
    const directory = join(stage, 'd');
    await mkdir(directory, { recursive: true, mode: 0o755 });
    return {
      directory,
      commit: (name, parent, layer, commitOptions = {}) =>
        this.#commitStage(stage, name, parent, layer, commitOptions),
      [Symbol.asyncDispose]: () => removeTree(stage, this.#fs),
    };
  }

  /** Lets go of the root. Snapshots stay as they are, mounted or not. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    unlock(this.#root);
  }

  async #commitStage(
    stage: string,
    name: string,
    parent: string | undefined,
    layer: { impliedDirectories: readonly string[]; usage: SnapshotUsage },
    options: SnapshotOptions,
  ): Promise<void> {
    this.#check(options);
    const lowers = this.#lowers(parent);
    if (this.#table.get(name) !== undefined) throw alreadyExists(name);
    if (layer.impliedDirectories.length > 0 && lowers.length > 0) {
      using lower = new LowerStack(this.#fs, lowers, this.#overlayXattrs);
      settleImplied(this.#fs, join(stage, 'd'), lower, layer.impliedDirectories);
    }
    await syncDirectory(join(stage, 'd'));
    const id = this.#newId();
    // rename(2) takes an empty directory's place
    const final = join(this.#root, 's', id);
    try {
      await rename(stage, final);
      await syncDirectory(join(this.#root, 's'));
      await this.#table.addDurable({
        version: 1,
        name,
        kind: 'committed',
        ...(parent === undefined ? {} : { parent }),
        id,
        createdAt: now(),
        usage: layer.usage,
      });
    } catch (error) {
      await removeTree(final, this.#fs);
      throw error;
    }
  }

  #activate(
    kind: 'active' | 'view',
    key: string,
    parent: string | undefined,
    options: SnapshotOptions,
  ): Mount[] {
    this.#check(options);
    const lowers = this.#lowers(parent);
    if (this.#table.get(key) !== undefined) throw alreadyExists(key);
    const id = this.#newId();
    const record: SnapshotRecord = {
      version: 1,
      name: key,
      kind,
      ...(parent === undefined ? {} : { parent }),
      id,
      createdAt: now(),
    };
    try {
      const layer = this.#layer(record);
      mkdirSync(layer, 0o755);
      // the root of the mount is that of its topmost directory
      const below = lowers[0] === undefined ? undefined : statSync(lowers[0]);
      if (process.geteuid?.() === 0) chownSync(layer, below?.uid ?? 0, below?.gid ?? 0);
      // not left to mkdir, which minds the umask
      chmodSync(layer, (below?.mode ?? 0o755) & 0o7777);
      if (below !== undefined) utimesSync(layer, below.atime, below.mtime);
      if (kind === 'active') mkdirSync(join(this.#directory(record), 'w'), 0o700);
      // not synced: after a power failure a container is gone with what it wrote, which was not on the disk either
      this.#table.add(record);
    } catch (error) {
      rmSync(this.#directory(record), { recursive: true, force: true });
      throw error;
    }
    return this.#mountsOf(record);
  }

  #mountsOf(record: SnapshotRecord): Mount[] {
    const lowers = this.#lowers(record.parent);
    const layer = this.#layer(record);
    const [only] = lowers;
    // the empty directory of a view without a parent is all it has
    if (record.kind === 'view') return this.#readOnly(only === undefined ? [layer] : lowers);
    if (only === undefined) return [{ type: 'bind', source: layer, options: ['rbind', 'rw'] }];
    return [
      {
        type: 'overlay',
        source: 'overlay',
        options: [
          ...this.#mountOptions,
          `lowerdir=${lowers.join(':')}`,
          `upperdir=${layer}`,
          `workdir=${join(this.#directory(record), 'w')}`,
        ],
      },
    ];
  }

  /** A mount of layers (topmost first) that nobody writes to. */
  #readOnly(layers: readonly string[]): Mount[] {
    // overlay wants two layers to merge; one alone is bound
    if (layers.length === 1) return [{ type: 'bind', source: layers[0]!, options: ['rbind', 'ro'] }];
    const options = [...this.#mountOptions, `lowerdir=${layers.join(':')}`];
    return [{ type: 'overlay', source: 'overlay', options }];
  }

  /** The layers of `parent` and below, topmost first. */
  #lowers(parent: string | undefined): string[] {
    const lowers: string[] = [];
    for (let name = parent; name !== undefined;) {
      const record = this.#table.get(name);
      if (record?.kind !== 'committed') {
        throw new LayerStoreError(
          name === parent ? 'NOT_FOUND' : 'CORRUPT_STORE',
          `there is no committed snapshot ${name}`,
        );
      }
      lowers.push(this.#layer(record));
      name = record.parent;
    }
    return lowers;
  }

  /** A new directory under `s`, empty. */
  #newId(): string {
    for (;;) {
      const id = Array.from(randomBytes(ID_LENGTH), (byte) => (byte % 36).toString(36)).join('');
      try {
        mkdirSync(join(this.#root, 's', id), 0o700);
        return id;
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
      }
    }
  }

  #existing(name: string, options: SnapshotOptions): SnapshotRecord {
    this.#check(options);
    const record = this.#table.get(name);
    if (record === undefined) throw new LayerStoreError('NOT_FOUND', `there is no snapshot ${name}`);
    return record;
  }

  #directory(record: SnapshotRecord): string {
    return join(this.#root, 's', record.id);
  }

  #layer(record: SnapshotRecord): string {
    return join(this.#directory(record), 'd');
  }

  #check({ signal }: SnapshotOptions): void {
    signal?.throwIfAborted();
    if (this.#closed) throw new LayerStoreError('CLOSED', `the snapshotter of ${this.#root} is closed`);
  }
}

/** Whether the root of the file system looks the same with a layer and without it; times do not count. */
function sameRoot(layer: string, below: string | undefined): boolean {
  const own = statSync(layer);
  const other = below === undefined ? { mode: constants.S_IFDIR | 0o755, uid: 0, gid: 0 } : statSync(below);
  return own.mode === other.mode && own.uid === other.uid && own.gid === other.gid;
}

function toInfo({ name, kind, parent, createdAt }: SnapshotRecord): SnapshotInfo {
  return { name, kind, parent, createdAt: new Date(createdAt) };
}

function now(): string {
  return new Date().toISOString();
}

/**
 * Options against defaults of this kernel that do not go with layers: with an index, overlay refuses to mount an upper
 * directory again over other layers; with the other two, an upper directory alone is not all of its layer.
 */
function unwantedDefaultsOff(): string[] {
  return ['index', 'metacopy', 'redirect_dir'].flatMap((name) => {
    try {
      const value = readFileSync(`/sys/module/overlay/parameters/${name}`, 'utf8');
      return value.startsWith('Y') ? [`${name}=off`] : [];
    } catch (error) {
      // no overlay in this kernel, or none yet: mounting will say so
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  });
}
