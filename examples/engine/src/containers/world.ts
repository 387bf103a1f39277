/** What the verbs of containers work with: the seams, the other services, and the places of files. */
import { join } from 'node:path';
import type { Runtime } from '@tare/runtime-native';
import type { LinuxSeccomp } from '@tare/runtime-native/spec';
import type { Snapshotter } from '@tare/layer-store/snapshot';
import type { Logger } from 'pino';

import type { EventBus } from '../events/event-bus.ts';
import type { ImageResolver } from '../images/image.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import type { Networks } from '../networks/networks.ts';
import type { HostMounts, Volumes } from '../volumes/volumes.ts';
import type { SupportedLimits } from './discard.ts';
import type { ContainerDefaults } from '../config-keys.ts';
import { containerLog, logAttributes, type ContainerLog, type LogDriver } from '../logs/drivers.ts';
import type { LogCompressor } from '../logs/compressor.ts';
import type { LogForwarders } from '../logs/forwarders.ts';
import { openSink, type LogSink, type OpenUnixDatagrams } from '../logs/sinks.ts';
import type { ContainerRecord } from './container.ts';
import type { NameServers } from './name-servers.ts';
import type { RootSyscalls } from './root-files.ts';
import type { ContainerStore } from './store.ts';
import type { Trees } from './trees.ts';
import type { UserNamespacePolicy, UserNamespaces } from './user-namespaces.ts';
import type { HostFacts } from './validate.ts';

/** Network namespaces that outlive the processes in them, each bound to a file. */
export interface Sandboxes {
  /**
   * Makes a namespace bound to `path`, which must not exist; root of `userNamespace` has power over it. Leaves nothing
   * behind when it fails.
   */
  create(path: string, userNamespace?: string): Promise<void>;
  /** Brings up `lo`, which attaching to a network does too. */
  bringUpLoopback(path: string): Promise<void>;
  /** Removes it; one that is gone is fine. */
  remove(path: string): Promise<void>;
}

/** System-call filters. */
export interface SeccompProfiles {
  /** The default filter for processes with `capabilities`. */
  standard(capabilities: readonly string[]): LinuxSeccomp;
  /** A profile of Docker's JSON format. @throws when it is malformed */
  parse(profile: string, capabilities: readonly string[]): LinuxSeccomp;
}

/** Where things are. */
export interface ContainerPaths {
  /** Holds one directory per container. */
  containers: string;
  /** Holds one network namespace file per running container. */
  sandboxes: string;
  /** Holds one user namespace file per running container that has its own. */
  userNamespaces: string;
  /** Holds what is mounted on the host for one container: while it starts, or as long as it runs. */
  mounts: string;
}

/** Everything that verbs need. */
export interface ContainerWorld {
  store: ContainerStore;
  runtime: Runtime;
  snapshotter: Snapshotter;
  /** Name of the snapshotter, shown by inspect. */
  snapshotterName: string;
  networks: Networks;
  volumes: Volumes;
  images: ImageResolver;
  sandboxes: Sandboxes;
  userNamespaces: UserNamespaces;
  userNamespacePolicy: UserNamespacePolicy;
  nameServers: NameServers;
  seccomp: SeccompProfiles;
  syscalls: RootSyscalls;
  trees: Trees;
  hostMounts: HostMounts;
  events: EventBus;
  jobs: JobQueue;
  log: Logger;
  paths: ContainerPaths;
  hostFacts: HostFacts;
  supportedLimits: SupportedLimits;
  /** What containers get that do not say otherwise. */
  defaults: ContainerDefaults;
  logForwarders: LogForwarders;
  logCompressor: LogCompressor;
  openUnixDatagrams: OpenUnixDatagrams;
  /** Hard limit of open files of this process. */
  openFilesMax: number;
  /** 1 or 2: the cgroup hierarchy decides the default cgroup namespace and the shape of stats. */
  cgroupVersion: 1 | 2;
  /** The program that `--init` makes pid 1, found when it is needed, and whether all containers get it unless they object. */
  init: { program(): string; always: boolean };
  /** Cgroup that containers go below. */
  cgroupParent: string;
}

/** The engine's own files of one container. */
export function containerFiles(
  paths: ContainerPaths,
  id: string,
): {
  directory: string;
  hosts: string;
  hostname: string;
  resolvConf: string;
  sandbox: string;
  userNamespace: string;
  mounts: string;
} {
  const directory = join(paths.containers, id);
  return {
    directory,
    hosts: join(directory, 'hosts'),
    hostname: join(directory, 'hostname'),
    resolvConf: join(directory, 'resolv.conf'),
    sandbox: join(paths.sandboxes, id),
    userNamespace: join(paths.userNamespaces, id),
    mounts: join(paths.mounts, id),
  };
}

/** The log that a container's monitor writes; undefined when it has none. */
export function logOf(world: ContainerWorld, { id, hostConfig }: ContainerRecord): ContainerLog | undefined {
  return containerLog(hostConfig.LogConfig, containerFiles(world.paths, id).directory, id);
}

/** The labels and variables that a container's log options name. */
export function logAttributesOf({ config, hostConfig }: ContainerRecord): Record<string, string> {
  return logAttributes(hostConfig.LogConfig?.Config ?? {}, {
    labels: config.Labels ?? {},
    env: config.Env ?? [],
  });
}

/** Opens what a container's log is sent on to; undefined when it is only kept. @throws {EngineError} */
export function openLogSink(world: ContainerWorld, record: ContainerRecord): Promise<LogSink | undefined> {
  const { id, name, imageId, config, hostConfig } = record;
  return openSink(
    (hostConfig.LogConfig?.Type || 'json-file') as LogDriver,
    {
      id,
      name,
      imageId,
      imageName: config.Image ?? '',
      attributes: logAttributesOf(record),
      options: hostConfig.LogConfig?.Config ?? {},
    },
    world.openUnixDatagrams,
  );
}
