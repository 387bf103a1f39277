/** Changing a container's limits and restart policy. */
import { conflict } from '../errors.ts';
import type { HostConfig, UpdateRequest } from './host-config.ts';
import { cgroupResources } from './resources.ts';
import type { LiveContainer } from './store.ts';
import { validateResources, validateRestartPolicy } from './validate.ts';
import type { ContainerWorld } from './world.ts';

/**
 * Applies the members that were given; zero means "leave as it is", as in Docker.
 *
 * @throws {EngineError} `INVALID`; `CONFLICT` for a container that is being removed, or a policy on `--rm`
 */
export async function updateContainer(
  world: ContainerWorld,
  container: LiveContainer,
  request: UpdateRequest,
): Promise<void> {
  const { RestartPolicy: policy, ...limits } = request;
  validateResources(limits, world.hostFacts);
  if (policy) validateRestartPolicy(policy);
  using _lock = await container.lock.acquire();
  const { record, state } = container;
  if (state.removing || state.dead) {
    throw conflict(`container is marked for removal and cannot be "update"`);
  }
  if (policy?.Name && policy.Name !== 'no' && record.hostConfig.AutoRemove) {
    throw conflict('Restart policy cannot be updated because AutoRemove is enabled for the container');
  }
  const changed = mergeLimits(record.hostConfig, limits);
  if (policy?.Name) {
    changed.RestartPolicy = { Name: policy.Name, MaximumRetryCount: policy.MaximumRetryCount ?? 0 };
  }
  if (container.handle && state.running && !state.restarting) {
    const resources = cgroupResources(changed, () => ({ major: 0, minor: 0 }));
    // devices keep their limits; the weight is the container's own
    const { weight } = resources.blockIO ?? {};
    if (limits.BlkioWeight && weight !== undefined) resources.blockIO = { weight };
    else delete resources.blockIO;
    if (Object.keys(resources).length > 0) await container.handle.update(resources);
  }
  container.record = { ...record, hostConfig: changed };
  world.store.saveRecord(container);
  world.store.publish(container, 'update');
}

/** Limits that an update may change. */
const NUMBERS = [
  'CpuShares',
  'Memory',
  'MemorySwap',
  'MemoryReservation',
  'NanoCpus',
  'CpuPeriod',
  'CpuQuota',
  'CpuRealtimePeriod',
  'CpuRealtimeRuntime',
  'BlkioWeight',
] as const;

function mergeLimits(host: HostConfig, limits: Omit<UpdateRequest, 'RestartPolicy'>): HostConfig {
  const merged: HostConfig = { ...host };
  for (const key of NUMBERS) if (limits[key]) merged[key] = limits[key];
  // zero and below lift this limit
  if (limits.PidsLimit !== undefined) merged.PidsLimit = limits.PidsLimit;
  if (limits.CpusetCpus) merged.CpusetCpus = limits.CpusetCpus;
  if (limits.CpusetMems) merged.CpusetMems = limits.CpusetMems;
  if (limits.NanoCpus && (host.CpuQuota || host.CpuPeriod)) {
    throw conflict(
      'Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set',
    );
  }
  if ((limits.CpuQuota || limits.CpuPeriod) && host.NanoCpus) {
    throw conflict(
      'Conflicting options: CPU Period/Quota cannot be updated as NanoCPUs has already been set',
    );
  }
  const { Memory: memory = 0, MemorySwap: swap = 0 } = merged;
  if (limits.Memory && !limits.MemorySwap && swap > 0 && memory > swap) {
    throw conflict(
      'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    );
  }
  return merged;
}
