/**
 * What every snapshotter in a directory has in common: records, ids, staging, the order of things that a crash cannot
 * break. How layers lie on disk and are mounted is for the classes that extend it.
 *
 * On disk: `s/<id>/d` is a snapshot's own directory, `m/<name>.json` its record, `t/` what is not finished. A directory
 * without a record, and a record without a directory, are what a crash left: opening removes them.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../content/ingest.ts';
import type { IdMap } from '../apply/id-map.ts';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { thisOwner } from '../owner.ts';
import type { Change } from './changes.ts';
import { makeUnique, makeRoot } from './directories.ts';
import { removeTree, unlock } from './housekeeping.ts';
import { LowerStack } from './lower-stack.ts';
import { makeLowerLinks } from './lower-links.ts';
import { alreadyExists, SnapshotTable, toInfo, type SnapshotRecord } from './metadata.ts';
import { withOwnersOf, type Mount } from './mount.ts';
import { settleImplied } from './settle.ts';
import type {
  DiffOptions,
  MountOptions,
  SnapshotInfo,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from './snapshotter.ts';
import type { StoredOptions, StoredRoot } from './stored-root.ts';
import type { LayerStager, StagedLayer, UnpackedLayer } from './stage.ts';

/** A snapshotter in a directory that one process has open. */
export abstract class StoredSnapshotter implements Snapshotter, LayerStager, AsyncDisposable {
  protected readonly root: string;
  protected readonly fs: LayerFs;
  /** Name space of overlay's marks in staged layers. */
  protected readonly overlayXattrs: 'trusted' | 'user';
  protected readonly idMap: IdMap | undefined;
  readonly #table: SnapshotTable;
  #closed = false;

  constructor(stored: StoredRoot, options: StoredOptions & { overlayXattrs?: 'trusted' | 'user' }) {
    this.root = stored.root;
    this.#table = stored.table;
    this.fs = options.fs;
    this.idMap = options.idMap;
    this.overlayXattrs = options.overlayXattrs ?? 'trusted';
  }

  /** Makes the directories of a new active snapshot or view beside `layer(record)`, which is there and empty. */
  protected abstract populate(record: SnapshotRecord): void | Promise<void>;
  /** How an active snapshot or view is mounted. */
  protected abstract mountsOf(record: SnapshotRecord, readOnly: boolean): Mount[];
  /** Makes of an unpacked layer in overlay's form, in `<stage>/d`, what a committed snapshot has there. */
  protected abstract finishStage(stage: string, parent: string | undefined): void | Promise<void>;
  /** What an active snapshot took, and what has no place beside a committed one. */
  protected abstract measure(record: SnapshotRecord, signal: AbortSignal | undefined): Promise<SnapshotUsage>;
  /** Removes what a snapshot needed only while it was active. */
  protected abstract tidy(record: SnapshotRecord): Promise<void>;
  abstract changes(name: string, options?: SnapshotOptions): AsyncIterable<Change>;
  abstract diff(name: string, options?: DiffOptions): AsyncIterable<Uint8Array>;
  abstract flatten(name: string, options?: SnapshotOptions): AsyncIterable<Uint8Array>;

  async prepare(key: string, parent: string | undefined, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#activate('active', key, parent, options);
  }

  async view(key: string, parent: string | undefined, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#activate('view', key, parent, options);
  }

  async mounts(key: string, options: MountOptions = {}): Promise<Mount[]> {
    this.check(options);
    const { readOnly = false, userNamespace } = options;
    const record = this.#table.get(key);
    if (record === undefined || record.kind === 'committed') {
      throw new LayerStoreError('NOT_FOUND', `there is no active snapshot ${key}`);
    }
    if (userNamespace !== undefined && record.kind === 'active' && !readOnly) {
      throw new LayerStoreError(
        'INVALID_ARGUMENT',
        `the owners of ${key} cannot be mapped where it is written to: give readOnly, or use a view`,
      );
    }
    await this.reach(record.parent);
    const mounts = this.mountsOf(record, readOnly);
    return userNamespace === undefined ? mounts : mounts.map((mount) => withOwnersOf(mount, userNamespace));
  }

  async commit(name: string, key: string, options: SnapshotOptions = {}): Promise<void> {
    this.check(options);
    const active = this.#table.get(key);
    if (active?.kind !== 'active') {
      throw new LayerStoreError('NOT_FOUND', `there is no active snapshot ${key} to commit`);
    }
    const usage = await this.measure(active, options.signal);
    const extra = await this.freeze(active);
    await this.#table.addDurable({ ...active, ...extra, name, kind: 'committed', createdAt: now(), usage });
    // from here on the snapshot is committed: if this process dies now, opening finishes the rest
    this.#table.delete(key);
    await this.tidy(active);
  }

  async remove(name: string, options: SnapshotOptions = {}): Promise<void> {
    this.check(options);
    const record = this.#table.get(name);
    if (record === undefined) return;
    if (this.#table.hasChildren(name)) {
      throw new LayerStoreError('IN_USE', `snapshot ${name} is the parent of another`);
    }
    // the record first: what is left of the directory if this fails is swept when the store is opened
    this.#table.delete(name);
    await this.release(record);
    await removeTree(this.directory(record), this.fs);
  }

  async stat(name: string, options: SnapshotOptions = {}): Promise<SnapshotInfo | undefined> {
    this.check(options);
    const record = this.#table.get(name);
    return record === undefined ? undefined : toInfo(record);
  }

  async *list(options: SnapshotOptions = {}): AsyncGenerator<SnapshotInfo, void, undefined> {
    this.check(options);
    for (const record of this.#table.list()) yield toInfo(record);
  }

  async usage(name: string, options: SnapshotOptions = {}): Promise<SnapshotUsage> {
    const record = await this.existing(name, options);
    return record.usage ?? (await this.measure(record, options.signal));
  }

  async stage(options: SnapshotOptions = {}): Promise<StagedLayer> {
    this.check(options);
    const stage = join(this.root, 't', `${thisOwner}.${randomBytes(6).toString('hex')}`);
    const directory = join(stage, 'd');
    await mkdir(directory, { recursive: true, mode: 0o755 });
    return {
      directory,
      commit: (name, parent, layer, commitOptions = {}) =>
        this.#commitStage(stage, name, parent, layer, commitOptions),
      [Symbol.asyncDispose]: () => removeTree(stage, this.fs),
    };
  }

  /** Lets go of the root. Snapshots stay as they are, mounted or not. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    unlock(this.root);
  }

  /** Makes the layers of a committed snapshot and those below it readable in their directories. Default: they are. */
  protected async reach(_name: string | undefined): Promise<void> {}

  /** Turns the directory of an active snapshot into that of a committed one. Default: it is one. */
  protected async freeze(_record: SnapshotRecord): Promise<Partial<SnapshotRecord>> {
    return {};
  }

  /** Undoes {@link StoredSnapshotter.reach} of one snapshot. */
  protected async release(_record: SnapshotRecord): Promise<void> {}

  /** What the record of a staged layer has beside the usual. */
  protected async seal(_stage: string): Promise<Partial<SnapshotRecord>> {
    return {};
  }

  /** The directories of `parent` and those below it, topmost first. */
  protected lowers(parent: string | undefined): string[] {
    return this.chain(parent).map((record) => this.layer(record));
  }

  /** The records of `parent` and those below it, topmost first. */
  protected chain(parent: string | undefined): SnapshotRecord[] {
    const records: SnapshotRecord[] = [];
    for (let name = parent; name !== undefined;) {
      const record = this.#table.get(name);
      if (record?.kind !== 'committed') {
        throw new LayerStoreError(
          name === parent ? 'NOT_FOUND' : 'CORRUPT_STORE',
          `there is no committed snapshot ${name}`,
        );
      }
      records.push(record);
      name = record.parent;
    }
    return records;
  }

  /** A snapshot that is there, its layers within reach. */
  protected async existing(name: string, options: SnapshotOptions): Promise<SnapshotRecord> {
    this.check(options);
    const record = this.#table.get(name);
    if (record === undefined) throw new LayerStoreError('NOT_FOUND', `there is no snapshot ${name}`);
    await this.reach(record.kind === 'committed' ? name : record.parent);
    return record;
  }

  protected directory(record: SnapshotRecord): string {
    return join(this.root, 's', record.id);
  }

  protected layer(record: SnapshotRecord): string {
    return join(this.directory(record), 'd');
  }

  protected check({ signal }: SnapshotOptions): void {
    signal?.throwIfAborted();
    if (this.#closed) throw new LayerStoreError('CLOSED', `the snapshotter of ${this.root} is closed`);
  }

  async #commitStage(
    stage: string,
    name: string,
    parent: string | undefined,
    layer: UnpackedLayer,
    options: SnapshotOptions,
  ): Promise<void> {
    this.check(options);
    const lowers = this.lowers(parent);
    if (this.#table.get(name) !== undefined) throw alreadyExists(name);
    await this.reach(parent);
    const usage = this.#settle(join(stage, 'd'), lowers, layer);
    await this.finishStage(stage, parent);
    const extra = await this.seal(stage);
    await syncDirectory(join(stage, 'd'));
    const id = makeUnique(join(this.root, 's'));
    // rename(2) takes an empty directory's place
    const final = join(this.root, 's', id);
    try {
      await rename(stage, final);
      await syncDirectory(join(this.root, 's'));
      await this.#table.addDurable({
        version: 1,
        name,
        kind: 'committed',
        ...(parent === undefined ? {} : { parent }),
        id,
        createdAt: now(),
        usage,
        ...extra,
      });
    } catch (error) {
      await removeTree(final, this.fs);
      throw error;
    }
  }

  /** Completes an unpacked layer by what the layers below it know. */
  #settle(directory: string, lowers: readonly string[], layer: UnpackedLayer): SnapshotUsage {
    const { lowerLinks = [], impliedDirectories, usage } = layer;
    if (lowerLinks.length === 0 && (impliedDirectories.length === 0 || lowers.length === 0)) return usage;
    using lower = new LowerStack(this.fs, lowers, this.overlayXattrs);
    settleImplied(this.fs, directory, lower, impliedDirectories);
    const more = makeLowerLinks(this.fs, directory, lower, lowerLinks);
    return { sizeBytes: usage.sizeBytes + more.sizeBytes, inodes: usage.inodes + more.inodes };
  }

  async #activate(
    kind: 'active' | 'view',
    key: string,
    parent: string | undefined,
    options: SnapshotOptions,
  ): Promise<Mount[]> {
    this.check(options);
    this.chain(parent);
    if (this.#table.get(key) !== undefined) throw alreadyExists(key);
    await this.reach(parent);
    const id = makeUnique(join(this.root, 's'));
    const record: SnapshotRecord = {
      version: 1,
      name: key,
      kind,
      ...(parent === undefined ? {} : { parent }),
      id,
      createdAt: now(),
    };
    try {
      makeRoot(this.layer(record), this.lowers(parent)[0], this.idMap);
      await this.populate(record);
      // not synced: after a power failure a container is gone with what it wrote, which was not on the disk either
      this.#table.add(record);
    } catch (error) {
      rmSync(this.directory(record), { recursive: true, force: true });
      throw error;
    }
    return this.mountsOf(record, false);
  }
}

function now(): string {
  return new Date().toISOString();
}
