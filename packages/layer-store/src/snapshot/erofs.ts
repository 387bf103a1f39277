/**
 * Overlay snapshots whose committed layers are EROFS images: one file each instead of thousands, read-only by nature, and
 * checked against its digest before it is mounted. Removing a layer is removing a file, and nothing that runs on the host
 * can change a file of an image unseen.
 *
 * `s/<id>/layer.erofs` is the image, `s/<id>/d` the place where it is mounted, made and undone by the injected
 * {@link Mounter}. The writable layers of containers are directories, as ever.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseDigest, type Digest } from '@tare/image-spec';
import { writeErofs } from '../erofs/write.ts';
import { LayerStoreError } from '../errors.ts';
import { removeTree } from './housekeeping.ts';
import type { SnapshotRecord } from './metadata.ts';
import type { Mount } from './mount.ts';
import { OverlaySnapshotter, type OverlayOptions } from './overlay.ts';
import { openStoredRoot, type StoredRoot } from './stored-root.ts';

/** Makes and undoes mounts: `mountAt` and `unmount` of `@tare/runtime-native/syscalls`. */
export interface Mounter {
  mount(mount: Mount, target: string): void;
  /** Detaches at once, and lets users of the mount finish; no mount there is fine. */
  unmount(target: string): void;
}

/** Options of {@link openErofsSnapshotter}. */
export interface ErofsOptions extends OverlayOptions {
  mounter: Mounter;
}

const IMAGE = 'layer.erofs';
const READ_CHUNK = 1024 * 1024;

/**
 * Opens the snapshots in `root`, as `openOverlaySnapshotter` does. Images are mounted when they are first needed, and
 * unmounted when the snapshotter is disposed of; containers that run on them keep them.
 *
 * Needs Linux 6.12, which mounts image files as they are; on older ones, a `mounter` that sets up loop devices.
 *
 * @throws {LayerStoreError} as `openOverlaySnapshotter`
 */
export async function openErofsSnapshotter(root: string, options: ErofsOptions): Promise<ErofsSnapshotter> {
  // what a killed process left mounted: nothing could be swept below it
  const snapshots = join(resolve(root), 's');
  if (existsSync(snapshots)) {
    for (const id of readdirSync(snapshots)) options.mounter.unmount(join(snapshots, id, 'd'));
  }
  return new ErofsSnapshotter(await openStoredRoot(root, options), options);
}

/** Made by {@link openErofsSnapshotter}; dispose of it to let others open the same root. */
export class ErofsSnapshotter extends OverlaySnapshotter {
  readonly #mounter: Mounter;
  /** Mounts by id, made or in the making. */
  readonly #mounted = new Map<string, Promise<void>>();

  /** Use {@link openErofsSnapshotter}. */
  constructor(stored: StoredRoot, options: ErofsOptions) {
    super(stored, options);
    this.#mounter = options.mounter;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    const mounted = [...this.#mounted.keys()];
    await Promise.allSettled(this.#mounted.values());
    this.#mounted.clear();
    for (const id of mounted) this.#mounter.unmount(join(this.root, 's', id, 'd'));
    await super[Symbol.asyncDispose]();
  }

  protected override async reach(name: string | undefined): Promise<void> {
    await Promise.all(this.chain(name).map((record) => this.#mount(record)));
  }

  protected override async release({ id }: SnapshotRecord): Promise<void> {
    const mounting = this.#mounted.get(id);
    if (mounting === undefined) return;
    this.#mounted.delete(id);
    await mounting.catch(() => undefined);
    this.#mounter.unmount(join(this.root, 's', id, 'd'));
  }

  protected override async seal(stage: string): Promise<Partial<SnapshotRecord>> {
    const image = await this.#write(join(stage, 'd'), join(stage, IMAGE));
    await removeTree(join(stage, 'd'), this.fs);
    mkdirSync(join(stage, 'd'), 0o755);
    return { image };
  }

  protected override async freeze(record: SnapshotRecord): Promise<Partial<SnapshotRecord>> {
    return { image: await this.#write(this.layer(record), join(this.directory(record), IMAGE)) };
  }

  protected override async tidy(record: SnapshotRecord): Promise<void> {
    await super.tidy(record);
    await removeTree(this.layer(record), this.fs);
    mkdirSync(this.layer(record), 0o755);
  }

  #mount(record: SnapshotRecord): Promise<void> {
    let mounting = this.#mounted.get(record.id);
    if (mounting === undefined) {
      mounting = this.#mountNow(record);
      this.#mounted.set(record.id, mounting);
      mounting.catch(() => this.#mounted.delete(record.id));
    }
    return mounting;
  }

  async #mountNow(record: SnapshotRecord): Promise<void> {
    const { image } = record;
    if (image === undefined) return;
    const source = join(this.directory(record), IMAGE);
    if (
      statSync(source, { throwIfNoEntry: false })?.size !== image.size ||
      (await digestOf(source)) !== image.digest
    ) {
      throw new LayerStoreError(
        'CORRUPT_STORE',
        `the image of snapshot ${record.name} is not what it was when it was written: remove the snapshot and unpack its layer again`,
      );
    }
    // what it was made of, if a crash came before that was removed
    if (readdirSync(this.layer(record)).length > 0) {
      await removeTree(this.layer(record), this.fs);
      mkdirSync(this.layer(record), 0o755);
    }
    this.#mounter.mount({ type: 'erofs', source, options: ['ro'] }, this.layer(record));
  }

  async #write(tree: string, path: string): Promise<{ digest: Digest; size: number }> {
    // an earlier attempt that did not get to its record
    await removeTree(path, this.fs);
    const fd = openSync(path, 'wx', 0o400);
    try {
      writeErofs(this.fs, tree, fd);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    return { digest: await digestOf(path), size: statSync(path).size };
  }
}

async function digestOf(path: string): Promise<Digest> {
  const hash = createHash('sha256');
  const file = await open(path);
  try {
    const buffer = Buffer.allocUnsafeSlow(READ_CHUNK);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
  return parseDigest(`sha256:${hash.digest('hex')}`);
}
