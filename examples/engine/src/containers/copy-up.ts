/** A new volume begins with what the image has in its place. */
import { closeSync, fstatSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/**
 * Fills the empty ones among a new container's volumes: owner and mode of the image's directory, and what is in it.
 *
 * The container's root is mounted read-only for the time of the copying, when there is anything to fill.
 */
export async function copyUp(
  world: ContainerWorld,
  record: LiveContainer['record'],
  signal: AbortSignal,
): Promise<void> {
  const candidates = record.mounts.filter(
    ({ type, noCopy, subpath }) => type === 'volume' && noCopy !== true && subpath === undefined,
  );
  if (candidates.length === 0) return;
  await using root = new MountedRoot(world, record.id);
  for (const { name = '', destination } of candidates) {
    await world.volumes.populate(name, async (directory) => {
      await root.mount();
      return root.copy(destination, directory, signal);
    });
  }
}

/** A container's root on the host, mounted when it is first asked for. */
class MountedRoot implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #id: string;
  readonly #undo = new AsyncDisposableStack();
  #path: string | undefined;

  constructor(world: ContainerWorld, id: string) {
    this.#world = world;
    this.#id = id;
  }

  async mount(): Promise<void> {
    if (this.#path !== undefined) return;
    const { mounts } = containerFiles(this.#world.paths, this.#id);
    const path = join(mounts, 'root');
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.#undo.defer(() => rmdir(mounts));
    this.#undo.defer(() => rmdir(path));
    const root = await this.#world.snapshotter.mounts(this.#id);
    this.#world.hostMounts.mount(
      root.map(({ options, ...mount }) => ({ ...mount, options: [...options, 'ro'] })),
      path,
    );
    this.#undo.defer(() => this.#world.hostMounts.unmount(path));
    this.#path = path;
  }

  /** @returns false when the image has no directory there */
  async copy(from: string, to: string, signal: AbortSignal): Promise<boolean> {
    let fd: number;
    try {
      fd = this.#world.syscalls.openInRoot(this.#path!, from);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return false;
      throw error;
    }
    try {
      if (!fstatSync(fd).isDirectory()) return false;
      await this.#world.copyTree(fd, to, { signal });
      return true;
    } finally {
      closeSync(fd);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
  }
}
