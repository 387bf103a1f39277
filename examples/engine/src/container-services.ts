/** Puts containers, networks and volumes together: they know one another only through what is passed in here. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { containerFilesRoutes } from './http/routes/container-files.ts';
import { containerRoutes } from './http/routes/containers.ts';
import { execRoutes } from './http/routes/exec.ts';
import { networkRoutes } from './http/routes/networks.ts';
import { volumeRoutes } from './http/routes/volumes.ts';
import type { Route } from './http/route.ts';
import { LogCompressor } from './logs/compressor.ts';
import { LogForwarders } from './logs/forwarders.ts';
import type { NetworkDrivers } from './networks/drivers.ts';
import { Networks } from './networks/networks.ts';
import { ContainersTable } from './state/containers-table.ts';
import type { StateDb } from './state/db.ts';
import { NetworksTable } from './state/networks-table.ts';
import { VolumesTable } from './state/volumes-table.ts';
import { readCgroupFacts } from './system/host-facts.ts';
import { Volumes } from './volumes/volumes.ts';
import { Containers } from './containers/containers.ts';
import { NameServers, type NameServersOptions } from './containers/name-servers.ts';
import { ContainerStore } from './containers/store.ts';
import type { HostFacts } from './containers/validate.ts';
import type { ContainerWorld } from './containers/world.ts';

/** What the services are made of: the seams and the engine's common parts. */
export interface ContainerServiceParts extends Omit<
  ContainerWorld,
  | 'store'
  | 'networks'
  | 'volumes'
  | 'nameServers'
  | 'paths'
  | 'hostFacts'
  | 'supportedLimits'
  | 'logForwarders'
  | 'logCompressor'
  | 'openFilesMax'
> {
  db: StateDb;
  networkDrivers: NetworkDrivers;
  /** Opens the name server of a sandbox. */
  openDns: NameServersOptions['open'];
  dataRoot: string;
  execRoot: string;
  /** Interface name of the default bridge. Default `tare0`. */
  bridgeName?: string;
}

/** The services, and the routes that serve them. */
export interface ContainerServices {
  containers: Containers;
  networks: Networks;
  volumes: Volumes;
  routes: Route[];
}

/** Makes the services. Nothing is touched before `containers.restore()`. Dispose of `containers` at the end. */
export function containerServices(parts: ContainerServiceParts): ContainerServices {
  const { db, networkDrivers, openDns, dataRoot, execRoot, bridgeName = 'tare0', ...seams } = parts;
  const sandboxes = join(execRoot, 'netns');
  const { events } = seams;
  const store = new ContainerStore(new ContainersTable(db), events);
  const networks = new Networks({
    table: new NetworksTable(db),
    drivers: networkDrivers,
    events,
    bridgeName,
    attached: () => containers.attachedEndpoints(),
  });
  const volumes = new Volumes({
    table: new VolumesTable(db),
    hostMounts: seams.hostMounts,
    events,
    root: join(dataRoot, 'volumes'),
    users: (name) => containers.usersOfVolume(name),
  });
  const nameServers = new NameServers({
    store,
    networks,
    open: openDns,
    servers: seams.defaults.dns,
    sandboxOf: (id) => join(sandboxes, id),
    log: seams.log,
  });
  const containers = new Containers({
    ...seams,
    nameServers,
    store,
    networks,
    volumes,
    paths: {
      containers: join(dataRoot, 'containers'),
      sandboxes,
      userNamespaces: join(execRoot, 'userns'),
      mounts: join(execRoot, 'mounts'),
    },
    logForwarders: new LogForwarders(seams.log),
    logCompressor: new LogCompressor(seams.syscalls.tryLock, seams.log),
    hostFacts: hostFacts(),
    supportedLimits: readCgroupFacts(),
    openFilesMax: openFilesMax(),
  });
  return {
    containers,
    networks,
    volumes,
    routes: [
      ...containerRoutes(containers),
      ...containerFilesRoutes(containers),
      ...execRoutes(containers),
      ...networkRoutes(networks, containers),
      ...volumeRoutes(volumes),
    ],
  };
}

/** What this machine has, as far as requests are checked against it. */
export function hostFacts(): HostFacts {
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8').trim() || undefined;
    } catch {
      // a kernel without NUMA, or a container without /sys: the kernel itself is then the judge
      return undefined;
    }
  };
  const cpuset = read('/sys/devices/system/cpu/online');
  const memoryNodes = read('/sys/devices/system/node/online');
  return {
    cpus: availableParallelism(),
    ...(cpuset === undefined ? {} : { cpuset }),
    ...(memoryNodes === undefined ? {} : { memoryNodes }),
  };
}

/** The hard limit of open files of this process; it does not change. */
function openFilesMax(): number {
  const match = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return match ? Number(match[1]) : Number.POSITIVE_INFINITY;
}
