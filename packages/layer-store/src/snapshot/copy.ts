/**
 * Snapshots without overlay: every one is a whole tree, a copy of its parent's. Blocks are shared where the file system
 * can (reflink: btrfs, XFS, bcachefs); elsewhere it costs what copying costs. Mounts are bind mounts, so it works on any
 * kernel and inside any container.
 */
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { packTree } from '../archive/pack.ts';
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString } from '../tar/entry.ts';
import { parseWhiteout, whiteoutName } from '../tar/whiteout.ts';
import { encodeTarHeader, TAR_END, tarEntry } from '../tar/write.ts';
import type { Change } from './changes.ts';
import { removeTree } from './housekeeping.ts';
import type { SnapshotRecord } from './metadata.ts';
import type { Mount } from './mount.ts';
import type { DiffOptions, SnapshotOptions, SnapshotUsage } from './snapshotter.ts';
import { openAll, openStoredRoot, sameRoot, type StoredOptions } from './stored-root.ts';
import { StoredSnapshotter } from './stored.ts';
import { copyTree, mergeLayer, treeChanges } from './trees.ts';
import { lstatSync } from 'node:fs';

/**
 * Opens the snapshots in `root`, as `openOverlaySnapshotter` does.
 *
 * @throws {LayerStoreError} `IN_USE`, `INVALID_ARGUMENT`, `CORRUPT_STORE`
 */
export async function openCopySnapshotter(root: string, options: StoredOptions): Promise<CopySnapshotter> {
  return new CopySnapshotter(await openStoredRoot(root, options), options);
}

/** Made by {@link openCopySnapshotter}; dispose of it to let others open the same root. */
export class CopySnapshotter extends StoredSnapshotter {
  async *changes(name: string, options: SnapshotOptions = {}): AsyncGenerator<Change, void, undefined> {
    const record = await this.existing(name, options);
    for (const change of treeChanges(this.fs, this.#shown(record), this.lowers(record.parent)[0])) {
      options.signal?.throwIfAborted();
      yield change;
    }
  }

  async *diff(name: string, options: DiffOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const record = await this.existing(name, options);
    const tree = this.#shown(record);
    const [below] = this.lowers(record.parent);
    const kept = new Set<ByteString>();
    const removed: ByteString[] = [];
    for (const { kind, path } of treeChanges(this.fs, tree, below)) {
      if (isWithout(options.without, path)) continue;
      const [parent, base] = splitPath(path);
      if (kind === 'delete') removed.push(parent + whiteoutName(base));
      else if (parseWhiteout(base) === undefined) kept.add(path);
      else {
        throw new LayerStoreError(
          'UNSAFE_ENTRY',
          `${printable(path)} cannot be part of a layer: names that begin with .wh. mean removed files there`,
          { entry: path },
        );
      }
    }
    for (const path of removed) yield encodeTarHeader(tarEntry('file', '', { name: path, mode: 0 }));
    using opened = new DisposableStack();
    const [fd] = openAll(opened, [tree]);
    const { signal } = options;
    yield* packTree(fd!, {
      fs: this.fs,
      idMap: this.idMap,
      exclude: (path) => !kept.has(path),
      ...(sameRoot(tree, below, this.idMap) ? {} : { as: '.' }),
      endMark: false,
      ...(signal === undefined ? {} : { signal }),
    });
    yield TAR_END;
  }

  async *flatten(name: string, options: SnapshotOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const record = await this.existing(name, options);
    using opened = new DisposableStack();
    const [fd] = openAll(opened, [this.#shown(record)]);
    yield* packTree(fd!, { fs: this.fs, idMap: this.idMap, as: '.', ...options });
  }

  protected populate(record: SnapshotRecord): void {
    const [below] = this.lowers(record.parent);
    if (record.kind === 'active' && below !== undefined) copyTree(this.fs, below, this.layer(record));
  }

  protected mountsOf(record: SnapshotRecord, readOnly: boolean): Mount[] {
    const mode = readOnly || record.kind === 'view' ? 'ro' : 'rw';
    return [{ type: 'bind', source: this.#shown(record), options: ['rbind', mode] }];
  }

  protected finishStage(stage: string, parent: string | undefined): void | Promise<void> {
    const merged = join(stage, 'm');
    mkdirSync(merged, 0o755);
    const [below] = this.lowers(parent);
    if (below !== undefined) copyTree(this.fs, below, merged);
    mergeLayer(this.fs, join(stage, 'd'), merged, this.overlayXattrs);
    renameSync(join(stage, 'd'), join(stage, 'w'));
    renameSync(merged, join(stage, 'd'));
    return removeTree(join(stage, 'w'), this.fs);
  }

  /** What is not as in the parent: shared blocks do not count. */
  protected async measure(record: SnapshotRecord, signal: AbortSignal | undefined): Promise<SnapshotUsage> {
    const usage = { sizeBytes: 0, inodes: 1 };
    const tree = this.#shown(record);
    const seen = new Set<number>();
    for (const { kind, path } of treeChanges(this.fs, tree, this.lowers(record.parent)[0])) {
      signal?.throwIfAborted();
      if (kind === 'delete') continue;
      const stat = lstatSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(path, 'latin1')]), {
        throwIfNoEntry: false,
      });
      if (stat === undefined || seen.has(stat.ino)) continue;
      seen.add(stat.ino);
      usage.inodes += 1;
      if (!stat.isDirectory()) usage.sizeBytes += stat.size;
    }
    return usage;
  }

  protected async tidy(_record: SnapshotRecord): Promise<void> {}

  /** The tree that is seen: a view has none of its own. */
  #shown(record: SnapshotRecord): string {
    const [below] = this.lowers(record.parent);
    return record.kind === 'view' && below !== undefined ? below : this.layer(record);
  }
}

function splitPath(path: ByteString): [parent: ByteString, name: ByteString] {
  const slash = path.lastIndexOf('/') + 1;
  return [path.slice(0, slash), path.slice(slash)];
}

function isWithout(without: ReadonlySet<ByteString> | undefined, path: ByteString): boolean {
  if (without === undefined || without.size === 0) return false;
  if (without.has(path)) return true;
  const slash = path.lastIndexOf('/');
  return slash > 0 && isWithout(without, path.slice(0, slash));
}
