/** The start of an engine: containers that an earlier one made are found again, what nobody owns is swept. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { messageOf } from '../errors.ts';
import type { Execs } from './exec.ts';
import { lostStatus, type Lifecycle } from './lifecycle.ts';
import { ownerOfSnapshot, removeSnapshots, sweepMounts } from './mount-sources.ts';
import { removeAnonymousVolumes } from './remove.ts';
import { shouldRestart } from './restart-policy.ts';
import { tearDown } from './start.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** A container's id: other users of the same snapshotter and directories name theirs differently. */
const CONTAINER_ID = /^[0-9a-f]{64}$/;

/**
 * Finds running containers again and deals with the ends that nobody saw; sweeps; applies restart policies.
 *
 * One container's trouble is logged and does not keep the others from being restored.
 */
export async function restoreContainers(
  world: ContainerWorld,
  lifecycle: Lifecycle,
  execs: Pick<Execs, 'restore'>,
): Promise<void> {
  await mkdir(world.paths.containers, { recursive: true, mode: 0o710 });
  await mkdir(world.paths.sandboxes, { recursive: true, mode: 0o700 });
  await mkdir(world.paths.userNamespaces, { recursive: true, mode: 0o700 });
  const unfinished = world.store.load();
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      world.log.error({ err: error }, `${what}: ${messageOf(error)}`);
    }
  };

  const running = world.store.all().filter(({ state }) => state.running && !state.restarting);
  const lost = new Set<LiveContainer>();
  await Promise.all(
    running.map((container) =>
      attempt(`restoring container ${container.id}`, async () => {
        // until the contrary is shown
        lost.add(container);
        world.volumes.reacquire(
          container.record.mounts.flatMap(({ name }) => name ?? []),
          container.id,
        );
        if (!(await reconnect(world, container, lifecycle))) return;
        lost.delete(container);
        await execs.restore(container);
      }),
    ),
  );
  await attempt('sweeping the runtime', () => sweepRuntime(world));
  // before the sweep of sandboxes, which its endpoints are in
  await attempt('restoring networks', () => world.networks.recover());
  for (const container of running) {
    if (lost.has(container) || !container.handle) continue;
    await attempt(`restoring the name server of container ${container.id}`, () =>
      world.nameServers.settle(container),
    );
  }
  for (const container of lost) {
    await attempt(`recording the end of container ${container.id}`, async () => {
      using _lock = await container.lock.acquire();
      await lifecycle.ended(container, lostStatus());
    });
  }
  for (const { phase, container } of unfinished) {
    await attempt(`sweeping container ${container.id}`, async () => {
      const volumes = phase === 'creating' || container.state.removingVolumes === true;
      await sweepContainer(world, container, volumes);
    });
  }
  await attempt('sweeping sandboxes', () => sweepSandboxes(world));
  await attempt('sweeping mounts', () =>
    sweepMounts(world, (id) => world.store.get(id)?.handle !== undefined),
  );
  await attempt('sweeping snapshots', () => sweepSnapshots(world));
  await attempt('sweeping directories', () => sweepDirectories(world));
  await attempt('sweeping volumes', () => world.volumes.sweep());
  for (const container of world.store.all()) applyPolicy(world, container, lifecycle);
}

/** @returns false when the runtime does not know the container any more */
async function reconnect(
  world: ContainerWorld,
  container: LiveContainer,
  lifecycle: Lifecycle,
): Promise<boolean> {
  let handle;
  try {
    handle = await world.runtime.load(container.id);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'NOT_FOUND') throw error;
    return false;
  }
  const { status, pid } = await handle.state();
  if (status === 'creating' || status === 'created') {
    // the engine died between the gate's opening and its noticing, or before: either way nobody has been told
    await handle.delete({ force: true });
    return false;
  }
  container.handle = handle;
  container.state.pid = pid;
  if (status !== 'stopped') container.state.paused = status === 'paused';
  // one that ended meanwhile is reported at once
  lifecycle.watch(container, handle);
  return true;
}

/** Removes containers of the runtime that no running container of ours is. */
async function sweepRuntime(world: ContainerWorld): Promise<void> {
  for (const { id } of await world.runtime.list()) {
    if (world.store.get(id)?.handle) continue;
    const handle = await world.runtime.load(id);
    await handle.delete({ force: true });
  }
}

async function sweepContainer(
  world: ContainerWorld,
  container: LiveContainer,
  volumes: boolean,
): Promise<void> {
  await tearDown(world, container);
  await removeSnapshots(world, container.record);
  await rm(containerFiles(world.paths, container.id).directory, { recursive: true, force: true });
  if (volumes) await removeAnonymousVolumes(world, container.record.mounts);
  world.store.forget(container);
}

async function sweepSandboxes(world: ContainerWorld): Promise<void> {
  for (const name of await readdir(world.paths.userNamespaces)) {
    if (world.store.get(name)?.handle) continue;
    await world.userNamespaces.remove(join(world.paths.userNamespaces, name));
  }
  for (const name of await readdir(world.paths.sandboxes)) {
    if (world.store.get(name)?.handle) continue;
    await world.sandboxes.remove(join(world.paths.sandboxes, name));
  }
}

async function sweepSnapshots(world: ContainerWorld): Promise<void> {
  const stray: string[] = [];
  for await (const { name, kind } of world.snapshotter.list()) {
    const owner = kind === 'committed' ? undefined : ownerOfSnapshot(name);
    if (owner !== undefined && !world.store.get(owner)) stray.push(name);
  }
  for (const name of stray) await world.snapshotter.remove(name);
}

async function sweepDirectories(world: ContainerWorld): Promise<void> {
  for (const name of await readdir(world.paths.containers)) {
    if (!CONTAINER_ID.test(name) || world.store.get(name)) continue;
    await rm(join(world.paths.containers, name), { recursive: true, force: true });
  }
}

/**
 * Starts what its policy wants running: also what a client had stopped, when the policy is `always`. Removes what should
 * have gone with its end.
 */
function applyPolicy(world: ContainerWorld, container: LiveContainer, lifecycle: Lifecycle): void {
  const { state, record } = container;
  if (container.handle || container.cancelRestart) return;
  if (record.hostConfig.AutoRemove) {
    lifecycle.removeLater(container);
    return;
  }
  const began = state.startedAt !== undefined;
  const restart = state.restarting || (began && shouldRestart(record.hostConfig.RestartPolicy ?? {}, state));
  if (!restart) return;
  Object.assign(state, { running: true, restarting: true, pid: 0 });
  world.store.saveState(container);
  lifecycle.scheduleRestart(container, 0);
}
