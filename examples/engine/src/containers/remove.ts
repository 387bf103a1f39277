/** Removing containers: one, or all that are stopped. */
import { rm } from 'node:fs/promises';

import { conflict } from '../errors.ts';
import type { Filters } from '../filters.ts';
import { step } from '../jobs/current.ts';
import { runAll } from '../settle.ts';
import { removeSnapshots } from './mount-sources.ts';
import { tearDown } from './start.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/**
 * Removes a container that does not run, with everything it owns. The caller holds its lock.
 *
 * @param options.volumes - also the volumes that nobody named
 * @throws {EngineError} `CONFLICT` when it runs; whatever failed, after which it can be removed again
 */
export async function removeContainer(
  world: ContainerWorld,
  container: LiveContainer,
  options: { volumes?: boolean } = {},
): Promise<void> {
  const { state, record } = container;
  if (state.running) {
    const what = state.paused ? 'paused' : 'running';
    throw conflict(
      `cannot remove container "/${container.name}": container is ${what}: ` +
        `${state.paused ? 'unpause and then ' : ''}stop the container before removing or force remove`,
    );
  }
  if (state.removing) throw removalInProgress(container);
  Object.assign(state, { removing: true, removingVolumes: options.volumes === true });
  // the next engine finishes what this one may not live to
  world.store.saveState(container);
  world.store.removing(container);
  try {
    await runAll([
      () => tearDown(world, container),
      () => step('snapshot', () => removeSnapshots(world, record)),
      () => rm(containerFiles(world.paths, container.id).directory, { recursive: true, force: true }),
    ]);
  } catch (error) {
    Object.assign(state, {
      removing: false,
      removingVolumes: false,
      dead: true,
      error: (error as Error).message,
    });
    world.store.saveState(container);
    container.notifyRemoved((error as Error).message);
    throw error;
  }
  if (options.volumes) await removeAnonymousVolumes(world, record.mounts);
  world.store.forget(container);
  world.store.publish(container, 'destroy');
  for (const client of container.clients) client.end();
  container.notifyRemoved();
}

/** @returns the error of a second removal */
export function removalInProgress(container: LiveContainer): Error {
  return conflict(`removal of container ${container.name} is already in progress`);
}

/** Removes the volumes that were made for a container alone, unless another one has them by now. */
export async function removeAnonymousVolumes(
  world: ContainerWorld,
  mounts: LiveContainer['record']['mounts'],
): Promise<void> {
  for (const { anonymous, name } of mounts) {
    if (!anonymous || name === undefined || !world.volumes.has(name)) continue;
    // another container may have it by --volumes-from: then it stays
    await world.volumes.remove(name).catch((error: unknown) => {
      world.log.debug({ err: error, volume: name }, 'volume kept');
    });
  }
}

/** Removes what is stopped; a container that cannot be removed is left and logged. */
export async function pruneContainers(
  world: ContainerWorld,
  filters: Filters,
): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const until = filters.timestamp('until');
  const deleted: string[] = [];
  let spaceReclaimed = 0;
  for (const container of world.store.all().reverse()) {
    const { record, state } = container;
    if (state.running || state.removing || !filters.matchesLabels(record.config.Labels)) continue;
    if (until !== undefined && BigInt(Date.parse(record.created)) * 1_000_000n > until) continue;
    using _lock = await container.lock.acquire();
    if (container.state.running || container.state.removing) continue;
    const { sizeBytes } = await world.snapshotter.usage(container.id);
    await removeContainer(world, container);
    deleted.push(container.id);
    spaceReclaimed += sizeBytes;
  }
  return { deleted, spaceReclaimed };
}
