/** A container's root as its processes see it, mounts included, whether it runs or not. */
import { existsSync } from 'node:fs';
import type { Spec } from '@tare/runtime-native/spec';

import { conflict } from '../errors.ts';
import { openMountSources } from './mount-sources.ts';
import { rootSpec } from './runtime-spec.ts';
import type { LiveContainer } from './store.ts';
import { idMapsOf, type IdMaps } from './user-namespaces.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/**
 * Runs `work` with a path that leads into the root of `container`; `ids` are those that its files have there, unless they
 * are those of the disk.
 *
 * For one that does not run the runtime makes a container that is never started, with the same root and mounts, and it
 * goes afterwards: what a crash leaves of it falls to the sweep of the runtime. No start comes in between.
 *
 * @throws {EngineError} `CONFLICT` while it is being removed
 */
export async function withRoot<T>(
  world: ContainerWorld,
  container: LiveContainer,
  work: (root: string, ids?: IdMaps) => Promise<T>,
): Promise<T> {
  const live = (): Promise<T> =>
    work(`/proc/${container.state.pid}/root`, idMapsOf(container.record, world.userNamespacePolicy));
  if (container.handle && container.state.running) return live();
  using _lock = await container.lock.acquire();
  const { record, state, handle } = container;
  if (handle && state.running) return live();
  if (state.removing || state.dead) {
    throw conflict(`container ${record.id} is marked for removal: its files are going`);
  }
  const files = containerFiles(world.paths, record.id);
  const etcFiles = Object.fromEntries(
    Object.entries({
      '/etc/resolv.conf': files.resolvConf,
      '/etc/hostname': files.hostname,
      '/etc/hosts': files.hosts,
    }).filter(([, source]) => existsSync(source)),
  );
  const name = `${record.id}-files`;
  await using resources = new AsyncDisposableStack();
  resources.defer(() => world.volumes.release(record.id));
  const sources = await openMountSources(world, record);
  resources.use(sources);
  const spec: Spec = rootSpec(record, {
    etcFiles,
    mountSources: sources.byDestination,
    cgroupsPath: `${world.cgroupParent}/${name}`,
  });
  const still = resources.use(
    await world.runtime.create(name, {
      spec,
      rootfs: await world.snapshotter.mounts(record.id),
      stdio: { terminal: false, openStdin: false, stdinOnce: false },
    }),
  );
  resources.defer(() => still.delete({ force: true }));
  return await work(`/proc/${still.pid}/root`);
}
