/**
 * Shared memory that other containers may join: a file system of the host's own, below `paths.mounts` as long as its
 * container runs. That of a private container is its own mount, which nobody else can reach.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import { conflict } from '../errors.ts';
import type { HostConfig } from './host-config.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

function placeOf(world: ContainerWorld, id: string): string {
  return join(containerFiles(world.paths, id).mounts, 'shm');
}

/** Makes the shared memory of a container that shares it; nothing for others. */
export async function openSharedMemory(
  world: ContainerWorld,
  { id, hostConfig }: LiveContainer['record'],
): Promise<void> {
  if (hostConfig.IpcMode !== 'shareable') return;
  const place = placeOf(world, id);
  await mkdir(place, { recursive: true, mode: 0o700 });
  const options = ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${hostConfig.ShmSize}`];
  world.hostMounts.mount([{ type: 'tmpfs', source: 'shm', options }], place);
}

/** Takes it away; those who have joined keep it. */
export async function closeSharedMemory(
  world: ContainerWorld,
  { id, hostConfig }: LiveContainer['record'],
): Promise<void> {
  if (hostConfig.IpcMode !== 'shareable') return;
  const place = placeOf(world, id);
  world.hostMounts.unmount(place);
  for (const directory of [place, containerFiles(world.paths, id).mounts]) {
    await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTEMPTY') throw error;
    });
  }
}

/** The container whose shared memory is joined; undefined for one's own. @throws {EngineError} `NOT_FOUND`, `CONFLICT` */
export function memoryOwner(world: ContainerWorld, host: HostConfig): LiveContainer | undefined {
  if (!host.IpcMode?.startsWith('container:')) return undefined;
  const peer = world.store.find(host.IpcMode.slice('container:'.length));
  if (!peer.state.running || peer.state.restarting || peer.state.pid === 0) {
    throw conflict(`cannot join IPC of a non running container: ${peer.id}`);
  }
  if (peer.record.hostConfig.IpcMode !== 'shareable') {
    throw conflict(
      `cannot join IPC of container ${peer.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
    );
  }
  return peer;
}

/** Where on the host the memory of a container is, when it is not a mount of its own. */
export function sharedMemoryOf(world: ContainerWorld, record: LiveContainer['record']): string | undefined {
  const owner = memoryOwner(world, record.hostConfig)?.record ?? record;
  return owner.hostConfig.IpcMode === 'shareable' ? placeOf(world, owner.id) : undefined;
}
