/**
 * Snapshots for the overlay file system: `s/<id>/d` is what a snapshot adds to its parents, in the on-disk form of
 * overlay, `s/<id>/w` overlay's work directory. Ids are short: the paths of all layers of a container go into one mount.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { packTree } from '../archive/pack.ts';
import { systemCode } from '../errors.ts';
import type { TarSink } from '../tar/read.ts';
import { overlayChanges, type Change } from './changes.ts';
import type { SnapshotRecord } from './metadata.ts';
import type { Mount } from './mount.ts';
import type { DiffOptions, SnapshotOptions, SnapshotUsage } from './snapshotter.ts';
import { openAll, openStoredRoot, sameRoot, type StoredOptions, type StoredRoot } from './stored-root.ts';
import { StoredSnapshotter } from './stored.ts';
import { directoryUsage } from './usage.ts';

/** Options of {@link openOverlaySnapshotter}. */
export interface OverlayOptions extends StoredOptions {
  /** Name space of overlay's own attributes: `'trusted'` (default), or `'user'` to mount in a user namespace. */
  overlayXattrs?: 'trusted' | 'user';
}

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
  return new OverlaySnapshotter(await openStoredRoot(root, options), options);
}

/** Made by {@link openOverlaySnapshotter}; dispose of it to let others open the same root. */
export class OverlaySnapshotter extends StoredSnapshotter {
  readonly #mountOptions: readonly string[];

  /** Use {@link openOverlaySnapshotter}: it takes the lock and sweeps. */
  constructor(stored: StoredRoot, options: OverlayOptions) {
    super(stored, options);
    this.#mountOptions = [...unwantedDefaultsOff(), ...(this.overlayXattrs === 'user' ? ['userxattr'] : [])];
  }

  async *changes(name: string, options: SnapshotOptions = {}): AsyncGenerator<Change, void, undefined> {
    const record = await this.existing(name, options);
    const lowers = this.lowers(record.parent);
    for (const change of overlayChanges(this.fs, this.layer(record), lowers, this.overlayXattrs)) {
      options.signal?.throwIfAborted();
      yield change;
    }
  }

  diff(name: string, options: DiffOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#pack(name, options);
  }

  diffTo(
    name: string,
    members: TarSink,
    options: DiffOptions & { reusePieces?: boolean } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#pack(name, { ...options, members });
  }

  async *#pack(
    name: string,
    options: DiffOptions & { members?: TarSink; reusePieces?: boolean },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const record = await this.existing(name, options);
    const layer = this.layer(record);
    using opened = new DisposableStack();
    const [fd] = openAll(opened, [layer]);
    yield* packTree(fd!, {
      fs: this.fs,
      idMap: this.idMap,
      overlayXattrs: this.overlayXattrs,
      ...(sameRoot(layer, this.lowers(record.parent)[0], this.idMap) ? {} : { as: '.' }),
      ...options,
    });
  }

  async *flatten(name: string, options: SnapshotOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const record = await this.existing(name, options);
    using opened = new DisposableStack();
    const [top, ...below] = openAll(opened, [this.layer(record), ...this.lowers(record.parent)]);
    yield* packTree(top!, {
      fs: this.fs,
      idMap: this.idMap,
      overlayXattrs: this.overlayXattrs,
      below,
      as: '.',
      ...options,
    });
  }

  protected populate(record: SnapshotRecord): void {
    if (record.kind === 'active') mkdirSync(this.#work(record), 0o700);
  }

  protected mountsOf(record: SnapshotRecord, readOnly: boolean): Mount[] {
    const lowers = this.lowers(record.parent);
    const layer = this.layer(record);
    const [only] = lowers;
    // the empty directory of a view without a parent is all it has
    if (record.kind === 'view') return this.#readOnly(only === undefined ? [layer] : lowers);
    if (readOnly) return this.#readOnly([layer, ...lowers]);
    if (only === undefined) return [{ type: 'bind', source: layer, options: ['rbind', 'rw'] }];
    return [
      {
        type: 'overlay',
        source: 'overlay',
        options: [
          ...this.#mountOptions,
          `lowerdir=${lowers.join(':')}`,
          `upperdir=${layer}`,
          `workdir=${this.#work(record)}`,
        ],
      },
    ];
  }

  /** Unpacked layers are in overlay's form already. */
  protected finishStage(_stage: string, _parent: string | undefined): void | Promise<void> {}

  protected async measure(record: SnapshotRecord, signal: AbortSignal | undefined): Promise<SnapshotUsage> {
    return directoryUsage(this.layer(record), signal);
  }

  protected async tidy(record: SnapshotRecord): Promise<void> {
    await rm(this.#work(record), { recursive: true, force: true });
  }

  /** A mount of layers (topmost first) that nobody writes to. */
  #readOnly(layers: readonly string[]): Mount[] {
    // overlay wants two layers to merge; one alone is bound
    if (layers.length === 1) return [{ type: 'bind', source: layers[0]!, options: ['rbind', 'ro'] }];
    const options = [...this.#mountOptions, `lowerdir=${layers.join(':')}`];
    return [{ type: 'overlay', source: 'overlay', options }];
  }

  #work(record: SnapshotRecord): string {
    return join(this.directory(record), 'w');
  }
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
