/** A container's file system without its mounts: as one archive, and as the list of what it changed in its image. */
import type { Change } from '@tare/layer-store/snapshot';

import { EngineError } from '../errors.ts';
import { pauseContainer, unpauseContainer } from './stop.ts';
import type { LiveContainer } from './store.ts';
import type { ContainerWorld } from './world.ts';

/** One entry of `docker diff`. */
export interface ChangedPath {
  Path: string;
  /** 0: modified, 1: added, 2: deleted. */
  Kind: 0 | 1 | 2;
}

const KINDS = { modify: 0, add: 1, delete: 2 } as const;

/**
 * What every container has mounted, and the runtime makes mount points for in an image that lacks them. They are no
 * doing of the container's.
 */
const MOUNT_POINTS: ReadonlySet<string> = new Set(
  'dev dev/console dev/mqueue dev/pts dev/shm etc etc/hostname etc/hosts etc/resolv.conf proc sbin sbin/docker-init sys sys/fs sys/fs/cgroup'.split(
    ' ',
  ),
);

/** What the container changed, sorted by path. */
export async function containerChanges(
  world: ContainerWorld,
  container: LiveContainer,
): Promise<ChangedPath[]> {
  const all = await Array.fromAsync(world.snapshotter.changes(container.id));
  const made = mountPointsOf(all);
  return all
    .filter(({ path }) => !made.has(path))
    .map(({ kind, path }) => ({
      // names are bytes to the snapshotter
      Path: `/${Buffer.from(path, 'latin1').toString('utf8')}`,
      Kind: KINDS[kind],
    }))
    .sort((a, b) => (a.Path < b.Path ? -1 : 1));
}

/** Of a container's changes, the mount points that were made for it, and directories in which nothing else happened. */
export function mountPointsOf(
  changes: readonly Change[],
  further: readonly string[] = [],
): ReadonlySet<string> {
  const made = new Set<string>();
  const points = new Set([...MOUNT_POINTS, ...further.flatMap(withParents)]);
  // from the inside out: a directory is one when everything in it is
  for (const [i, { kind, path }] of [...changes.entries()].reverse()) {
    if (!points.has(path) || kind === 'delete') continue;
    let inside = 0;
    let others = 0;
    for (const { path: other } of changes.slice(i + 1)) {
      if (!other.startsWith(`${path}/`)) break;
      if (made.has(other)) inside += 1;
      else others += 1;
    }
    if (others === 0 && (kind === 'add' || inside > 0)) made.add(path);
  }
  return made;
}

/** `a/b/c`, `a/b` and `a` of `/a/b/c`. */
function withParents(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return parts.map((_, i) => parts.slice(0, i + 1).join('/'));
}

/** The whole file system as an uncompressed archive. Mount points in it are empty. */
export async function* exportContainer(
  world: ContainerWorld,
  container: LiveContainer,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { state, id } = container;
  if (container.handle && state.running) {
    yield* world.trees.pack(`/proc/${state.pid}/root`, '/', '.', { oneFileSystem: true, signal });
  } else {
    using root = world.trees.open(await world.snapshotter.mounts(id, { readOnly: true }));
    yield* world.trees.pack(root.path, '/', '.', { signal });
  }
  world.store.publish(container, 'export');
}

/**
 * Runs `work` on what the container wrote, which does not change meanwhile: a container that runs is paused, unless
 * `pause` is false; one that does not run is not started.
 *
 * @param options.mountPoints - further paths that count as the engine's doing when they were made for mounts
 */
export async function holdStill<T>(
  world: ContainerWorld,
  container: LiveContainer,
  options: { pause: boolean; mountPoints?: readonly string[] },
  work: (snapshot: { key: string; without: ReadonlySet<string> }) => Promise<T>,
): Promise<T> {
  const snapshot = async (): Promise<T> => {
    const changes = await Array.fromAsync(world.snapshotter.changes(container.id));
    return work({ key: container.id, without: mountPointsOf(changes, options.mountPoints) });
  };
  const { running, paused, restarting } = container.state;
  if (!running) {
    using _lock = await container.lock.acquire();
    return snapshot();
  }
  if (!options.pause || paused || restarting) return snapshot();
  try {
    await pauseContainer(world, container);
  } catch (error) {
    // it ended just now: there is nothing to hold still
    if (!(error instanceof EngineError && error.code === 'CONFLICT')) throw error;
    return snapshot();
  }
  try {
    return await snapshot();
  } finally {
    // somebody else may have done it meanwhile
    if (container.state.paused) await unpauseContainer(world, container);
  }
}
