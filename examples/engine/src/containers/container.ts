/** What the engine keeps of one container: plain data, written to the state database as it is. */
import type { Endpoint } from '@tare/netdriver';

import type { ContainerConfig, EndpointSettings } from './create-request.ts';
import type { Health } from './health.ts';
import type { HostConfig } from './host-config.ts';
import type { IdMaps } from './user-namespaces.ts';

/** One mount of a container, as resolved at creation. */
export interface MountPoint {
  type: 'bind' | 'volume' | 'tmpfs' | 'image';
  /** Volume name; absent for the others. */
  name?: string;
  /** Absolute path on the host; empty for tmpfs; for an image its reference. */
  source: string;
  /** Absolute path in the container. */
  destination: string;
  /** Volume driver. */
  driver?: string;
  /** The mode text as given, for inspect. */
  mode: string;
  readWrite: boolean;
  /** Mount propagation, for example `rprivate`; empty for volumes and tmpfs. */
  propagation: string;
  /** Mount options of a tmpfs. */
  tmpfsOptions?: string[];
  /** Do not take the mounts below the source along. */
  nonRecursive?: boolean;
  /** Read-only for this mount only, not for those below it. */
  readOnlyNonRecursive?: boolean;
  /** The volume was made for this container alone; `rm -v` removes it. */
  anonymous?: boolean;
  /** Does not begin with what the image has at its destination. */
  noCopy?: boolean;
  /** The part of the volume or image that is mounted, relative to its root. */
  subpath?: string;
  /** Id of the image of an image mount. */
  imageId?: string;
  /** Came from `Mounts`, not from `Binds` or the image. */
  explicit?: boolean;
}

/** A container's place on one network: what was asked for and, while it runs, what it got. */
export interface NetworkAttachment {
  networkId: string;
  settings: EndpointSettings;
  /** Set while attached. */
  endpoint?: Endpoint;
}

/** The part of a container that changes as it runs. Times are RFC 3339 with nanoseconds. */
export interface ContainerState {
  /** True while paused and while waiting for a restart, too. */
  running: boolean;
  paused: boolean;
  restarting: boolean;
  oomKilled: boolean;
  removing: boolean;
  /** Its removal takes the volumes along that were made for it alone. */
  removingVolumes?: boolean;
  dead: boolean;
  pid: number;
  exitCode: number;
  /** Why the last start failed; empty otherwise. */
  error: string;
  startedAt: string | undefined;
  finishedAt: string | undefined;
  restartCount: number;
  /** A client stopped it, so `unless-stopped` leaves it alone. */
  manuallyStopped: boolean;
  /** Undefined for a container without a health check, and for one that never ran. */
  health?: Health | undefined;
  networks: Record<string, NetworkAttachment>;
}

/** The part of a container that only create, rename and update write. */
export interface ContainerRecord {
  /** 64 hex digits. */
  id: string;
  /** Without the leading slash. */
  name: string;
  created: string;
  /** Digest of the image's config. */
  imageId: string;
  /** Name of the image's topmost committed snapshot; undefined for an image without layers. */
  chainId: string | undefined;
  /** What the process runs: entrypoint and command joined. */
  path: string;
  args: string[];
  /** Merged with the image's config. */
  config: ContainerConfig;
  /** With the engine's defaults filled in. */
  hostConfig: HostConfig;
  mounts: MountPoint[];
  /** Of a container with a user namespace that nobody shares: the ids that are its alone, as long as it is there. */
  ownIds?: IdMaps;
}

/** The state of a container that has never run. */
export function createdState(networks: Record<string, NetworkAttachment>): ContainerState {
  return {
    running: false,
    paused: false,
    restarting: false,
    oomKilled: false,
    removing: false,
    dead: false,
    pid: 0,
    exitCode: 0,
    error: '',
    startedAt: undefined,
    finishedAt: undefined,
    restartCount: 0,
    manuallyStopped: false,
    networks,
  };
}
