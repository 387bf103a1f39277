/**
 * Where a container's mounts come from on the host. Images and parts of volumes have no directory of their own: they are
 * mounted below `paths.mounts` while the container starts, and gone from there once it has them.
 */
import { closeSync, fstatSync } from 'node:fs';
import { mkdir, readdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { invalid, systemError } from '../errors.ts';
import type { MountPoint } from './container.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** Key of the snapshot that an image mount shows: it keeps the image's layers as long as the container is there. */
export function imageViewKey(containerId: string, index: number): string {
  return `${containerId}-image-${index}`;
}

/** The container that a snapshot's key belongs to; undefined for keys that are not an engine's. */
export function ownerOfSnapshot(key: string): string | undefined {
  return /^([0-9a-f]{64})(-image-\d+)?$/.exec(key)?.[1];
}

/** Removes the snapshots of a container: its own, and the views of its image mounts. */
export async function removeSnapshots(
  world: ContainerWorld,
  { id, mounts }: Pick<LiveContainer['record'], 'id' | 'mounts'>,
): Promise<void> {
  await world.snapshotter.remove(id);
  for (const [index, { type }] of mounts.entries()) {
    if (type === 'image') await world.snapshotter.remove(imageViewKey(id, index));
  }
}

/** What mounts are made of while a container starts. Dispose of it when the runtime has set the container up. */
export interface MountSources extends AsyncDisposable {
  /** Sources on the host by the mount's destination, of those that differ from the mount's own. */
  readonly byDestination: ReadonlyMap<string, string>;
}

/**
 * Makes every source of a container's mounts available. Volumes with options are mounted until `volumes.release`.
 *
 * @throws {EngineError} `INVALID` for a subpath that is not there, or a propagation that the host's mount forbids;
 *   `SYSTEM` when a volume cannot be mounted
 */
export async function openMountSources(
  world: ContainerWorld,
  record: LiveContainer['record'],
): Promise<MountSources> {
  const byDestination = new Map<string, string>();
  const staging = new Staging(world, containerFiles(world.paths, record.id).mounts);
  try {
    for (const [index, mount] of record.mounts.entries()) {
      if (mount.type === 'bind') checkPropagation(world, mount);
      if (mount.type === 'volume') await world.volumes.acquire(mount.name!, record.id);
      let source = mount.source;
      if (mount.type === 'image') {
        source = await staging.directory(
          await world.snapshotter.mounts(imageViewKey(record.id, index)),
          `${index}`,
        );
      }
      if (mount.subpath) source = await staging.part(source, mount, `${index}-part`);
      if (source !== mount.source) byDestination.set(mount.destination, source);
    }
  } catch (error) {
    await staging[Symbol.asyncDispose]();
    throw error;
  }
  return { byDestination, [Symbol.asyncDispose]: () => staging[Symbol.asyncDispose]() };
}

/** Mounts in a directory of the engine's, which go with it. */
class Staging implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #directory: string;
  readonly #undo = new AsyncDisposableStack();

  constructor(world: ContainerWorld, directory: string) {
    this.#world = world;
    this.#directory = directory;
  }

  async #place(name: string): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    return join(this.#directory, name);
  }

  /** Mounts `mounts` at a directory of that name. */
  async directory(
    mounts: Parameters<ContainerWorld['hostMounts']['mount']>[0],
    name: string,
  ): Promise<string> {
    const target = await this.#place(name);
    await mkdir(target);
    this.#undo.defer(() => rmdir(target));
    this.#mount(mounts, target);
    return target;
  }

  /** Mounts what is at the mount's subpath of `root`. No link leads out of it, also not one that is put there now. */
  async part(root: string, { subpath = '', source, name }: MountPoint, as: string): Promise<string> {
    const what = `${name ?? source}/${subpath}`;
    let fd: number;
    try {
      fd = this.#world.syscalls.openInRoot(root, subpath);
    } catch (error) {
      throw invalid(`cannot access path ${what}: ${(error as Error).message}`, { cause: error });
    }
    try {
      const stat = fstatSync(fd);
      const target = await this.#place(as);
      if (stat.isDirectory()) {
        await mkdir(target);
        this.#undo.defer(() => rmdir(target));
      } else if (stat.isFile()) {
        await writeFile(target, '', { flag: 'wx' });
        this.#undo.defer(() => unlink(target));
      } else throw invalid(`cannot mount ${what}: it is neither a file nor a directory`);
      this.#mount([{ type: 'bind', source: `/proc/self/fd/${fd}`, options: ['rbind'] }], target);
      return target;
    } finally {
      closeSync(fd);
    }
  }

  #mount(mounts: Parameters<ContainerWorld['hostMounts']['mount']>[0], target: string): void {
    try {
      this.#world.hostMounts.mount(mounts, target);
    } catch (error) {
      throw systemError(`cannot mount at ${target}: ${(error as Error).message}`, { cause: error });
    }
    this.#undo.defer(() => this.#world.hostMounts.unmount(target));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
    await rmdir(this.#directory).catch((error: NodeJS.ErrnoException) => {
      // the container's shared memory is there too, as long as it runs
      if (error.code !== 'ENOENT' && error.code !== 'ENOTEMPTY') throw error;
    });
  }
}

/** A mount that is to hear of the host's mounts needs a host's mount that tells. */
function checkPropagation(world: ContainerWorld, { source, propagation }: MountPoint): void {
  const mode = propagation.replace(/^r/, '');
  if (mode !== 'shared' && mode !== 'slave') return;
  const under = world.hostMounts
    .table()
    .filter(({ target }) => target === '/' || source === target || source.startsWith(`${target}/`))
    // the deepest one; of several at one place the last
    .reduce((best, next) => (next.target.length >= best.target.length ? next : best));
  const isShared = under.propagation.some((field) => field.startsWith('shared:'));
  const isSlave = under.propagation.some((field) => field.startsWith('master:'));
  if (isShared || (mode === 'slave' && isSlave)) return;
  throw invalid(
    `path ${source} is mounted on ${under.target} but it is not a shared${mode === 'slave' ? ' or slave' : ''} mount`,
  );
}

/** Takes away what crashed engines left mounted for containers; `keep` names those that run. */
export async function sweepMounts(
  world: ContainerWorld,
  keep: (containerId: string) => boolean,
): Promise<void> {
  const root = world.paths.mounts;
  await mkdir(root, { recursive: true, mode: 0o700 });
  const stray = (await readdir(root)).filter((id) => !keep(id)).map((id) => join(root, id));
  const mounted = world.hostMounts.table().map(({ target }) => target);
  for (const directory of stray) {
    const targets = mounted.filter((target) => target.startsWith(`${directory}/`));
    for (const target of targets.reverse()) world.hostMounts.unmount(target);
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      // never recursive: should a mount be left, what is in it belongs to somebody
      await rmdir(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOTDIR') throw error;
        return unlink(path);
      });
    }
    await rmdir(directory);
  }
}
