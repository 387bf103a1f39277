/** One container's record → the OCI runtime spec it runs by. Pure: everything it needs to know is handed in. */
import type { DeviceSpec, LinuxSeccomp, MountSpec, NamespaceSpec, Spec } from '@tare/runtime-native/spec';
import {
  DEFAULT_MASKED_PATHS,
  DEFAULT_READONLY_PATHS,
  capabilitySets,
  defaultMounts,
} from '@tare/runtime-native/spec';

import { containerCapabilities } from './capabilities.ts';
import type { ContainerRecord, MountPoint } from './container.ts';
import { processEnv } from './merge-config.ts';
import { depth, tmpfsOptions } from './mounts.ts';
import { cgroupResources, deviceRules, rlimits, type DeviceNumbers } from './resources.ts';
import type { SecurityOptions } from './security.ts';
import type { IdMaps } from './user-namespaces.ts';
import type { ResolvedUser } from './user.ts';

/** What the spec needs besides the container's record. */
export interface SpecInputs {
  user: ResolvedUser;
  /** Name of the container's UTS namespace, or of the host when it shares that. */
  hostname: string;
  /** Files managed by the engine, by their place in the container: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. */
  etcFiles: Readonly<Record<string, string>>;
  /**
   * Namespaces shared with others: a path to join, or `'host'`. Those left out are the container's own.
   */
  namespaces: Partial<Record<'network' | 'pid' | 'ipc' | 'uts' | 'cgroup', { path: string } | 'host'>>;
  /** Sources of mounts by their destination, where they are not the mount's own. */
  mountSources: ReadonlyMap<string, string>;
  /** The AppArmor profile; undefined for none. */
  appArmorProfile: string | undefined;
  /** The ids of the container's user namespace; undefined for the host's. */
  ids: IdMaps | undefined;
  /** Path of that namespace. */
  userNamespace: string;
  /** Where on the host the container's shared memory is; undefined for a mount of its own. */
  sharedMemory: string | undefined;
  /** Variables that tell of linked containers; the container's own win over them. */
  linkEnv: readonly string[];
  /** Device nodes besides the default ones, with their cgroup access. */
  devices: readonly (DeviceSpec & { access?: string })[];
  deviceNumbers: DeviceNumbers;
  security: SecurityOptions;
  /** The filter that `security.seccomp` means for these capabilities; undefined for none. */
  seccomp: LinuxSeccomp | undefined;
  /** Hard limit of open files of this process. */
  openFilesMax: number;
  /** Program on the host that is to be pid 1, in front of the container's own; undefined for none. */
  init: string | undefined;
  /** Cgroup that containers without a `CgroupParent` go below. */
  cgroupParent: string;
}

/** Where clients of dockerd find a container's init. */
const INIT_PATH = '/sbin/docker-init';

/** Sysctls of a network namespace of one's own: unprivileged ping, and no privileged ports. */
const NETWORK_SYSCTLS = {
  'net.ipv4.ping_group_range': '0 2147483647',
  'net.ipv4.ip_unprivileged_port_start': '0',
};

/** The spec of one container. Its root file system is handed to the runtime separately. */
export function runtimeSpec(record: ContainerRecord, inputs: SpecInputs): Spec {
  const { config, hostConfig: host } = record;
  const capabilities = containerCapabilities(host);
  const ownNetwork = inputs.namespaces.network === undefined || inputs.namespaces.network !== 'host';
  const env = processEnv({ ...config, Env: [...inputs.linkEnv, ...(config.Env ?? [])] }, inputs.hostname);
  if (!env.some((entry) => entry.startsWith('HOME='))) env.push(`HOME=${inputs.user.home}`);
  const isRoot = inputs.user.uid === 0;
  const sets = capabilitySets(capabilities);
  const consoleSize = consoleSizeOf(host.ConsoleSize);

  return {
    ociVersion: '1.2.0',
    // the runtime mounts the root itself; the path only satisfies the schema
    root: { path: 'rootfs', readonly: host.ReadonlyRootfs === true },
    process: {
      terminal: config.Tty === true,
      ...(consoleSize ? { consoleSize } : {}),
      user: { uid: inputs.user.uid, gid: inputs.user.gid, additionalGids: [...inputs.user.additionalGids] },
      args: [...(inputs.init ? [INIT_PATH, '--'] : []), record.path, ...record.args],
      env,
      cwd: config.WorkingDir || '/',
      // a process that is not root starts with nothing in effect, and nothing ambient either
      capabilities: isRoot ? sets : { bounding: sets.bounding ?? [] },
      rlimits: rlimits(host, inputs.openFilesMax),
      noNewPrivileges: inputs.security.noNewPrivileges,
      ...(inputs.appArmorProfile === undefined ? {} : { apparmorProfile: inputs.appArmorProfile }),
      ...(host.OomScoreAdj ? { oomScoreAdj: host.OomScoreAdj } : {}),
    },
    ...(inputs.namespaces.uts === 'host' ? {} : { hostname: inputs.hostname }),
    ...(config.Domainname ? { domainname: config.Domainname } : {}),
    mounts: specMounts(record, inputs),
    ...(host.Annotations ? { annotations: host.Annotations } : {}),
    linux: {
      namespaces: specNamespaces(inputs),
      ...inputs.ids,
      devices: inputs.devices.map(({ access: _access, ...device }) => device),
      cgroupsPath: `${host.CgroupParent || inputs.cgroupParent}/${record.id}`,
      resources: {
        ...cgroupResources(host, inputs.deviceNumbers),
        devices: deviceRules(host, inputs.devices),
      },
      rootfsPropagation: rootPropagation(record.mounts),
      ...(inputs.seccomp ? { seccomp: inputs.seccomp } : {}),
      sysctl: {
        ...(ownNetwork && joined(inputs.namespaces.network) === undefined ? NETWORK_SYSCTLS : {}),
        ...host.Sysctls,
      },
      maskedPaths: host.Privileged ? [] : [...(host.MaskedPaths ?? DEFAULT_MASKED_PATHS)],
      readonlyPaths: host.Privileged ? [] : [...(host.ReadonlyPaths ?? DEFAULT_READONLY_PATHS)],
    },
  };
}

/** The spec of a container that is never started: `record`'s root and mounts, and nothing else of it. */
export function rootSpec(
  record: ContainerRecord,
  { cgroupsPath, ...inputs }: Pick<SpecInputs, 'etcFiles' | 'mountSources'> & { cgroupsPath: string },
): Spec {
  return {
    ociVersion: '1.2.0',
    root: { path: 'rootfs', readonly: record.hostConfig.ReadonlyRootfs === true },
    process: { user: { uid: 0, gid: 0 }, args: ['/'], cwd: '/' },
    mounts: ownMounts(record, inputs),
    linux: {
      namespaces: [{ type: 'mount' }, { type: 'pid' }],
      cgroupsPath,
      rootfsPropagation: rootPropagation(record.mounts),
    },
  };
}

function joined(namespace: { path: string } | 'host' | undefined): string | undefined {
  return typeof namespace === 'object' ? namespace.path : undefined;
}

function specNamespaces(inputs: SpecInputs): NamespaceSpec[] {
  const result: NamespaceSpec[] = [{ type: 'mount' }];
  if (inputs.ids) result.push({ type: 'user', path: inputs.userNamespace });
  for (const type of ['pid', 'network', 'ipc', 'uts', 'cgroup'] as const) {
    const shared = inputs.namespaces[type];
    if (shared === 'host') continue;
    result.push(shared === undefined ? { type } : { type, path: shared.path });
  }
  return result;
}

/** `[height, width]` of the client's terminal; zeros mean unknown. */
export function consoleSizeOf(
  size: readonly number[] | undefined,
): { height: number; width: number } | undefined {
  const [height = 0, width = 0] = size ?? [];
  return height > 0 && width > 0 ? { height, width } : undefined;
}

/** Shared and slave binds need a root that lets mounts through; a private one would cut them off. */
function rootPropagation(mounts: readonly MountPoint[]): 'private' | 'slave' | 'shared' {
  if (mounts.some(({ propagation }) => /^r?shared$/.test(propagation))) return 'shared';
  return mounts.some(({ propagation }) => /^r?slave$/.test(propagation)) ? 'slave' : 'private';
}

function specMounts(record: ContainerRecord, inputs: SpecInputs): MountSpec[] {
  const own = ownMounts(record, inputs);
  const taken = new Set(own.map(({ destination }) => destination));
  const defaults = systemMounts(record, inputs).filter(({ destination }) => !taken.has(destination));
  return [...defaults, ...own];
}

/** The mounts that are the container's own, parents before what is below them. */
function ownMounts(
  record: ContainerRecord,
  inputs: Pick<SpecInputs, 'etcFiles' | 'mountSources'> & Partial<Pick<SpecInputs, 'init' | 'ids'>>,
): MountSpec[] {
  const { hostConfig: host } = record;
  const own: MountSpec[] = [
    ...record.mounts.map((mount) => {
      const spec = mountSpec(mount, inputs.mountSources.get(mount.destination));
      // what is the engine's has the ids of the container on the disk; what is the host's keeps its own
      return inputs.ids && mount.type !== 'bind' && mount.type !== 'tmpfs' ? mapped(spec) : spec;
    }),
    ...Object.entries(host.Tmpfs ?? {}).map(([destination, options]) => ({
      destination,
      type: 'tmpfs',
      source: 'tmpfs',
      options: tmpfsOptions(options.split(',')),
    })),
  ];
  const taken = new Set(own.map(({ destination }) => destination));
  const etc = Object.entries(inputs.etcFiles)
    .filter(([destination]) => !taken.has(destination))
    .map(([destination, source]): MountSpec => ({
      destination,
      type: 'bind',
      source,
      options: ['rbind', 'rprivate', ...(host.ReadonlyRootfs ? ['ro'] : [])],
    }))
    .map((mount) => (inputs.ids ? mapped(mount) : mount));
  const init: MountSpec[] = inputs.init
    ? [{ destination: INIT_PATH, type: 'bind', source: inputs.init, options: ['bind', 'ro'] }]
    : [];
  return [...etc, ...init, ...own].sort((a, b) => depth(a.destination) - depth(b.destination));
}

/** /proc, /dev, /sys and their like, as the container's modes change them. */
function systemMounts(record: ContainerRecord, inputs: SpecInputs): MountSpec[] {
  const { hostConfig: host } = record;
  const mounts = defaultMounts(host.ShmSize ? { shmSizeBytes: host.ShmSize } : {});
  const result: MountSpec[] = [];
  for (const mount of mounts) {
    const { destination, options = [] } = mount;
    if (host.Privileged && (destination === '/sys' || destination === '/sys/fs/cgroup')) {
      result.push({ ...mount, options: options.filter((option) => option !== 'ro') });
    } else if (destination === '/dev/shm' && host.IpcMode === 'none') {
      continue;
    } else if (destination === '/dev/shm' && inputs.sharedMemory !== undefined) {
      result.push({ destination, type: 'bind', source: inputs.sharedMemory, options: ['bind', 'rprivate'] });
    } else if (
      (destination === '/dev/shm' || destination === '/dev/mqueue') &&
      inputs.namespaces.ipc === 'host'
    ) {
      result.push({ destination, type: 'bind', source: destination, options: ['rbind', 'rprivate'] });
    } else if (destination === '/sys' && inputs.namespaces.network === 'host') {
      // sysfs shows the network namespace of whoever mounts it, and may only be mounted by its owner
      result.push({ ...mount, options: options });
    } else result.push(mount);
  }
  return result;
}

/** The same with the ids of the container's user namespace. */
function mapped(mount: MountSpec): MountSpec {
  return { ...mount, options: [...(mount.options ?? []), 'idmap'] };
}

function mountSpec(mount: MountPoint, source = mount.source): MountSpec {
  const { destination, readWrite } = mount;
  if (mount.type === 'tmpfs') {
    return { destination, type: 'tmpfs', source: 'tmpfs', options: tmpfsOptions(mount.tmpfsOptions ?? []) };
  }
  const options = [mount.nonRecursive ? 'bind' : 'rbind', mount.propagation || 'rprivate'];
  if (!readWrite) options.push(mount.nonRecursive || mount.readOnlyNonRecursive ? 'ro' : 'rro');
  return { destination, type: 'bind', source, options };
}
