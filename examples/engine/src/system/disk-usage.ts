/** What images, containers and volumes take on disk: `docker system df`. */
import { cacheRecordType, type BuildCache, type CacheRecord } from '../builder/cache.ts';
import type { Containers } from '../containers/containers.ts';
import { Filters } from '../filters.ts';
import { API_VERSION } from '../http/api-version.ts';
import type { Images } from '../images/images.ts';
import { createdMs, listImages } from '../images/list.ts';
import type { Volumes } from '../volumes/volumes.ts';

/** What the answer is made of. */
export interface DiskUsageSources {
  images: Images;
  containers: Pick<Containers, 'list' | 'usersOfVolume'>;
  volumes: Pick<Volumes, 'list' | 'mountpoint' | 'size'>;
  buildCache: Pick<BuildCache, 'list'>;
}

/** The answer of `GET /system/df`. @param types - `image`, `container`, `volume`, `build-cache`; empty for all */
export async function diskUsage(
  { images, containers, volumes, buildCache }: DiskUsageSources,
  types: readonly string[],
): Promise<Record<string, unknown>> {
  const wants = (type: string): boolean => types.length === 0 || types.includes(type);
  const sizes = images.table.layerSizes();
  const everything = { all: true, limit: 0, filters: new Filters(), size: true };
  return {
    LayersSize: wants('image') ? [...sizes.values()].reduce((sum, size) => sum + size, 0) : 0,
    Images: wants('image') ? imageUsage(images, sizes) : null,
    Containers: wants('container') ? await containers.list(everything, API_VERSION) : null,
    Volumes: wants('volume') ? await volumeUsage(volumes, containers) : null,
    BuildCache: wants('build-cache') ? (await buildCache.list()).map(cacheUsage) : null,
  };
}

function cacheUsage(record: CacheRecord): Record<string, unknown> {
  return {
    ID: record.id.replace('sha256:', '').slice(0, 25),
    Type: cacheRecordType(record),
    Description: record.description,
    InUse: record.inUse,
    Shared: record.shared,
    Size: record.sizeBytes,
    CreatedAt: record.createdAt.toISOString(),
    LastUsedAt: record.usedAt.toISOString(),
    UsageCount: record.uses,
  };
}

function imageUsage(images: Images, sizes: ReadonlyMap<string, number>): Record<string, unknown>[] {
  const all = listImages(images, new Filters());
  const users = layerUsers(all.map(({ chain }) => chain));
  return all.map((image) => ({
    Containers: images.users.usersOf(image.id).length,
    Created: Math.floor(createdMs(image) / 1000),
    Id: image.id,
    Labels: image.config.config?.Labels ?? null,
    ParentId: '',
    RepoDigests: image.repoDigests,
    RepoTags: image.repoTags,
    SharedSize: sharedSize(image.chain, users, sizes),
    Size: image.sizeBytes,
  }));
}

async function volumeUsage(
  volumes: DiskUsageSources['volumes'],
  containers: DiskUsageSources['containers'],
): Promise<Record<string, unknown>[]> {
  return Promise.all(
    volumes.list(new Filters()).map(async (volume) => ({
      CreatedAt: volume.created,
      Driver: 'local',
      Labels: volume.labels,
      Mountpoint: volumes.mountpoint(volume.name),
      Name: volume.name,
      Options: volume.options,
      Scope: 'local',
      UsageData: {
        RefCount: containers.usersOfVolume(volume.name).length,
        Size: await volumes.size(volume.name),
      },
    })),
  );
}

/** How many of the images whose chains these are have each layer. */
export function layerUsers(chains: readonly (readonly string[])[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const chain of chains) for (const id of chain) users.set(id, (users.get(id) ?? 0) + 1);
  return users;
}

/** Bytes of the layers that an image has in common with others. */
export function sharedSize(
  chain: readonly string[],
  users: ReadonlyMap<string, number>,
  sizes: ReadonlyMap<string, number>,
): number {
  return chain.filter((id) => (users.get(id) ?? 0) > 1).reduce((sum, id) => sum + (sizes.get(id) ?? 0), 0);
}
