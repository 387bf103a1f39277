/** Gathers what a container's runtime spec needs from the host, the image and other containers. */
import { readdirSync, statSync } from 'node:fs';
import { hostname as hostHostname } from 'node:os';
import { join } from 'node:path';
import type { DeviceSpec, LinuxSeccomp } from '@tare/runtime-native/spec';

import { conflict, invalid, notFound, systemError } from '../errors.ts';
import { appArmorProfile } from './apparmor.ts';
import { containerCapabilities } from './capabilities.ts';
import type { ContainerRecord } from './container.ts';
import type { HostConfig } from './host-config.ts';
import { shortId } from './names.ts';
import { readFromLayers } from './root-files.ts';
import { linkEnv } from './links.ts';
import type { SpecInputs } from './runtime-spec.ts';
import { memoryOwner, sharedMemoryOf } from './shared-memory.ts';
import { parseSecurityOptions } from './security.ts';
import type { LiveContainer } from './store.ts';
import { idMapsOf } from './user-namespaces.ts';
import { resolveUser } from './user.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** The container whose network namespace this one shares; undefined for one of its own, or the host's. */
export function networkOwner(world: ContainerWorld, host: HostConfig): LiveContainer | undefined {
  const mode = host.NetworkMode ?? '';
  return mode.startsWith('container:') ? runningPeer(world, mode.slice('container:'.length)) : undefined;
}

/** @throws {EngineError} `NOT_FOUND`, `CONFLICT` when it does not run */
function runningPeer(world: ContainerWorld, text: string): LiveContainer {
  const peer = world.store.find(text);
  if (!peer.state.running || peer.state.restarting || peer.state.pid === 0) {
    throw conflict(`cannot join network of a non running container: ${peer.id}`);
  }
  return peer;
}

/**
 * Everything `runtimeSpec` wants to know of one container at its start.
 *
 * @param rootfs - the container's mounts, from which its passwd is read
 */
export function specInputs(
  world: ContainerWorld,
  record: ContainerRecord,
  rootfs: Parameters<typeof readFromLayers>[0],
  mountSources: SpecInputs['mountSources'] = new Map(),
): SpecInputs {
  const { config, hostConfig: host } = record;
  const owner = networkOwner(world, host);
  const fileOwner = containerFiles(world.paths, owner?.id ?? record.id);
  const security = parseSecurityOptions(host.SecurityOpt, world.defaults.noNewPrivileges);
  const read = (path: string): string | undefined => readFromLayers(rootfs, path, world.syscalls);
  return {
    user: resolveUser(config.User ?? '', host.GroupAdd ?? [], {
      passwd: read('/etc/passwd'),
      group: read('/etc/group'),
    }),
    hostname: containerHostname(owner?.record ?? record),
    etcFiles: {
      '/etc/resolv.conf': fileOwner.resolvConf,
      '/etc/hostname': fileOwner.hostname,
      '/etc/hosts': fileOwner.hosts,
    },
    mountSources,
    appArmorProfile: appArmorProfile(security.apparmor, host.Privileged === true),
    ids: idMapsOf(record, world.userNamespacePolicy),
    userNamespace: containerFiles(world.paths, record.id).userNamespace,
    sharedMemory: sharedMemoryOf(world, record),
    linkEnv: linksOf(world, record),
    namespaces: namespaces(world, record, owner),
    devices: containerDevices(host),
    deviceNumbers: blockDevice,
    security,
    seccomp: host.Privileged ? undefined : seccompFor(world, record),
    openFilesMax: world.openFilesMax,
    init: wantsInit(world, host) ? world.init.program() : undefined,
    cgroupParent: world.defaults.cgroupParent || world.cgroupParent,
  };
}

function linksOf(world: ContainerWorld, { id }: ContainerRecord): string[] {
  const container = world.store.get(id);
  return container ? linkEnv(world, container) : [];
}

/** A process namespace that belongs to somebody else has its pid 1 already. */
function wantsInit(world: ContainerWorld, host: HostConfig): boolean {
  return !host.PidMode && (host.Init ?? world.init.always);
}

/** What the container calls itself: its own hostname, the host's when it shares that, else its short id. */
export function containerHostname(record: ContainerRecord): string {
  const { config, hostConfig: host } = record;
  if (config.Hostname) return config.Hostname;
  if (host.UTSMode === 'host' || host.NetworkMode === 'host') return hostHostname();
  return shortId(record.id);
}

/** The container's filter; undefined for none. @throws {EngineError} `INVALID` for a malformed profile */
export function seccompFor(world: ContainerWorld, record: ContainerRecord): LinuxSeccomp | undefined {
  const { seccomp } = parseSecurityOptions(record.hostConfig.SecurityOpt);
  const { seccompProfile: byDefault } = world.defaults;
  const chosen = seccomp === 'default' ? byDefault : seccomp === 'builtin' ? 'builtin' : seccomp;
  if (chosen === 'unconfined') return undefined;
  const capabilities = containerCapabilities(record.hostConfig);
  if (chosen === 'builtin') return world.seccomp.standard(capabilities);
  const profile = typeof chosen === 'string' ? chosen : chosen.profile;
  try {
    return world.seccomp.parse(profile, capabilities);
  } catch (error) {
    throw invalid(`Decoding seccomp profile failed: ${(error as Error).message}`, { cause: error });
  }
}

function namespaces(
  world: ContainerWorld,
  record: ContainerRecord,
  networkPeer: LiveContainer | undefined,
): SpecInputs['namespaces'] {
  const { hostConfig: host, id } = record;
  const result: SpecInputs['namespaces'] = {};
  if (host.NetworkMode === 'host') result.network = 'host';
  else if (networkPeer) {
    const shared = networkPeer.record.hostConfig.NetworkMode === 'host';
    result.network = shared ? 'host' : { path: `/proc/${networkPeer.state.pid}/ns/net` };
  } else result.network = { path: containerFiles(world.paths, id).sandbox };
  if (host.PidMode === 'host') result.pid = 'host';
  else if (host.PidMode?.startsWith('container:')) {
    const peer = runningPeer(world, host.PidMode.slice('container:'.length));
    result.pid = { path: `/proc/${peer.state.pid}/ns/pid` };
  }
  const memoryPeer = memoryOwner(world, host);
  if (host.IpcMode === 'host') result.ipc = 'host';
  else if (memoryPeer) result.ipc = { path: `/proc/${memoryPeer.state.pid}/ns/ipc` };
  if (host.UTSMode === 'host') result.uts = 'host';
  if (host.CgroupnsMode === 'host') result.cgroup = 'host';
  return result;
}

type DeviceWithAccess = DeviceSpec & { access?: string };

/** Devices besides the default ones: those asked for, or every one of the host's for a privileged container. */
export function containerDevices(host: HostConfig, hostDirectory = '/dev'): DeviceWithAccess[] {
  if (host.Privileged) return devicesBelow(hostDirectory, '/dev');
  return (host.Devices ?? []).flatMap((device) => {
    const source = device.PathOnHost ?? '';
    const target = device.PathInContainer || source;
    const access = device.CgroupPermissions || 'rwm';
    if (!/^[rwm]{1,3}$/.test(access)) throw invalid(`invalid device mode: ${access}`);
    let found: DeviceWithAccess[];
    try {
      const stat = statSync(source);
      found = stat.isDirectory() ? devicesBelow(source, target) : [deviceOf(source, target)];
    } catch (error) {
      const why =
        (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file or directory' : String(error);
      throw systemError(`error gathering device information while adding custom device "${source}": ${why}`, {
        cause: error,
      });
    }
    return found.map((item) => ({ ...item, access }));
  });
}

/** Directories of /dev that hold no devices, or a container's own. */
const NOT_DEVICES = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', '.lxc', '.lxd-mounts', '.udev']);

function devicesBelow(directory: string, target: string): DeviceWithAccess[] {
  const result: DeviceWithAccess[] = [];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (NOT_DEVICES.has(entry.name)) continue;
    const source = join(directory, entry.name);
    if (entry.isDirectory()) result.push(...devicesBelow(source, join(target, entry.name)));
    else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      result.push(deviceOf(source, join(target, entry.name)));
    }
  }
  return result;
}

function deviceOf(source: string, path: string): DeviceWithAccess {
  const stat = statSync(source);
  if (!stat.isCharacterDevice() && !stat.isBlockDevice()) throw new Error('not a device node');
  return {
    type: stat.isBlockDevice() ? 'b' : 'c',
    path,
    ...deviceNumbers(stat.rdev),
    fileMode: stat.mode & 0o777,
    uid: stat.uid,
    gid: stat.gid,
  };
}

/** Splits `st_rdev` as the C library's major() and minor() do. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const device = BigInt(rdev);
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return { major: Number(major & 0xffff_ffffn), minor: Number(minor & 0xffff_ffffn) };
}

function blockDevice(path: string): { major: number; minor: number } {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw notFound(`device ${path} does not exist`);
  if (!stat.isBlockDevice()) throw invalid(`${path} is not a block device`);
  return deviceNumbers(stat.rdev);
}
