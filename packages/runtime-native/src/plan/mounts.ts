/** The mount part of a plan: trees of the host to open, the root, file systems in it, devices. */
import { posix } from 'node:path';

import { DEFAULT_DEVICES } from '../spec/defaults.ts';
import { hooksBeforePivot } from './hooks.ts';
import type { MountSpec, Spec } from '../spec/config.ts';
import type { DeviceSpec, IdMapping } from '../spec/linux.ts';
import type { CgroupPlacement, PlanContext } from './context.ts';
import { MS_PRIVATE, parseMountOptions } from './mount-options.ts';
import type { MountOptions } from './mount-options.ts';
import type { Operation } from './operations.ts';
import { invalid, missing, unsupported } from './validate.ts';

/** Flags of MOUNT and BIND. */
const FLAG = { NO_SYMLINKS: 1, ONTO_FILE: 2, OVER_PROC: 4, COPY_UP: 8, PROC: 16 } as const;
const RDONLY = 1n;
const HARMLESS = 2n | 4n | 8n; // nosuid, nodev, noexec

/** Files of procfs that LXCFS and its like replace; anything else there is the kernel's. */
const PROC_FILES = new Set(
  ['cpuinfo', 'diskstats', 'loadavg', 'meminfo', 'slabinfo', 'stat', 'swaps', 'uptime'].map(
    (name) => `/proc/${name}`,
  ),
);

const S_IFMT = { c: 0o020000, u: 0o020000, b: 0o060000, p: 0o010000 } as const;

/** Collects the operations of the mount part; trees have to be opened before the first thing is mounted. */
export class MountPlan {
  readonly #trees: Operation[] = [];
  readonly #steps: Operation[] = [];

  /** TREE_OPEN of everything that comes from the host, and ID_MAP: what has to be done while its root is still that. */
  get trees(): readonly Operation[] {
    return this.#trees;
  }

  /** Everything else, in order. */
  get steps(): readonly Operation[] {
    return this.#steps;
  }

  tree(path: string, recursive: boolean): number {
    const slot = this.#trees.length;
    this.#trees.push(['TREE_OPEN', slot, path, recursive ? 1 : 0]);
    return slot;
  }

  idMap(uids: string, gids: string): number {
    const slot = this.#trees.length;
    this.#trees.push(['ID_MAP', slot, uids, gids]);
    return slot;
  }

  add(operation: Operation): void {
    this.#steps.push(operation);
  }
}

/** Where a destination really is: absolute, without `.`, `..` and doubled slashes. */
export function normalize(path: string): string {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

/** `lowerdir` separates layers by colons; a backslash makes the next character ordinary. */
function splitLayers(value: string): string[] {
  const layers: string[] = [''];
  for (let i = 0; i < value.length; i++) {
    const character = value[i]!;
    if (character === ':') layers.push('');
    else layers[layers.length - 1] += character === '\\' ? (value[++i] ?? '') : character;
  }
  return layers.filter((layer) => layer !== '');
}

/** The root file system: the caller's mounts, or the directory that the spec names. */
export function planRoot(plan: MountPlan, spec: Spec, context: PlanContext): void {
  const { rootfs } = context;
  if (!rootfs) {
    const path = spec.root?.path;
    if (!path?.startsWith('/')) {
      throw invalid('root.path', 'must be an absolute path when no rootfs mounts are given');
    }
    // hooks that enter the mount namespace look for the root where the spec says
    plan.add(['ROOT_TREE', plan.tree(path, true), 0n, hooksBeforePivot(spec) ? path : '/']);
    return;
  }
  const [mount] = rootfs;
  if (!mount || rootfs.length > 1)
    throw invalid('rootfs', `must be one mount, and there are ${rootfs.length}`);
  const options = parseMountOptions(mount.options, mount.type);
  refuse(options, 'rootfs');
  if (options.bind) {
    const tree = plan.tree(mount.source, options.bind.recursive);
    plan.add(['ROOT_TREE', tree, options.set | options.setAll, '/']);
  } else if (mount.type === 'overlay') {
    const isLower = (option: string): boolean => option.startsWith('lowerdir=');
    const layers = options.data
      .filter(isLower)
      .flatMap((option) => splitLayers(option.slice('lowerdir='.length)));
    if (layers.length === 0) throw invalid('rootfs', 'an overlay needs a lowerdir');
    plan.add(['ROOT_OVERLAY', layers, options.data.filter((option) => !isLower(option)), options.set]);
  } else {
    throw invalid('rootfs', `must be of type overlay or bind, not ${JSON.stringify(mount.type)}`);
  }
}

function refuse(options: MountOptions, field: string): void {
  if (options.unsupported.length > 0)
    throw unsupported(`${field}.options ${JSON.stringify(options.unsupported[0])}`);
}

/** Every entry of `mounts`, and the devices right after `/dev`, so that later mounts may cover single devices. */
export function planMounts(plan: MountPlan, spec: Spec, context: PlanContext): void {
  if (spec.linux?.mountLabel && !context.securityModules.selinux)
    throw missing('linux.mountLabel', 'SELinux');
  let devices = false;
  (spec.mounts ?? []).forEach((mount, i) => {
    planMount(plan, mount, spec, `mounts[${i}]`, context);
    if (normalize(mount.destination) === '/dev') {
      // a /dev of the host's has its devices
      if (!parseMountOptions(mount.options ?? [], mount.type).bind) planDevices(plan, spec);
      devices = true;
    }
  });
  if (!devices) planDevices(plan, spec);
}

const mapLines = (mappings: readonly IdMapping[]): string =>
  mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join('');

/** File systems whose labels the kernel decides. */
const LABELLED_BY_KERNEL = new Set(['proc', 'sysfs', 'mqueue', 'cgroup', 'cgroup2']);

/** SELinux: everything in the file system gets the label of the spec. */
function labelOptions(type: string, options: MountOptions, spec: Spec): string[] {
  const label = spec.linux?.mountLabel;
  if (!label || LABELLED_BY_KERNEL.has(type)) return [];
  return options.data.some((option) => option.startsWith('context=')) ? [] : [`context=${label}`];
}

/** Mappings of the mount's own, or with `idmap` alone the container's. */
function idMapOperation(
  plan: MountPlan,
  mount: MountSpec,
  spec: Spec,
  options: MountOptions,
  field: string,
): Operation | undefined {
  let { uidMappings = [], gidMappings = [] } = mount;
  if (uidMappings.length === 0 && gidMappings.length === 0) {
    if (!options.idmap) return undefined;
    ({ uidMappings = [], gidMappings = [] } = spec.linux ?? {});
    if (uidMappings.length === 0) {
      throw invalid(`${field}.options`, 'idmap needs uidMappings and gidMappings, of the mount or of linux');
    }
  }
  for (const [name, mappings] of Object.entries({ uidMappings, gidMappings })) {
    if (mappings.length === 0) throw invalid(`${field}.${name}`, 'must be given when the other one is');
  }
  const slot = plan.idMap(mapLines(uidMappings), mapLines(gidMappings));
  return ['MAPPED', slot, options.idmap?.recursive ? 1 : 0];
}

function planMount(plan: MountPlan, mount: MountSpec, spec: Spec, field: string, context: PlanContext): void {
  const destination = normalize(mount.destination);
  const options = parseMountOptions(mount.options ?? [], mount.type);
  refuse(options, field);
  if (destination === '/') throw invalid(`${field}.destination`, 'must not be the root: give it as rootfs');
  const propagation = options.propagation || MS_PRIVATE;
  let flags = 0;
  if (PROC_FILES.has(destination)) flags |= FLAG.OVER_PROC;
  else if (destination.startsWith('/proc/')) {
    throw invalid(`${field}.destination`, `must not be inside /proc (${destination})`);
  }

  if (options.copyUp && (options.bind || mount.type !== 'tmpfs')) {
    throw invalid(`${field}.options`, 'tmpcopyup is for mounts of type tmpfs');
  }
  const idMap = idMapOperation(plan, mount, spec, options, field);
  if (options.bind) {
    if (!mount.source?.startsWith('/')) throw invalid(`${field}.source`, 'must be an absolute path');
    if (options.data.length > 0)
      throw invalid(`${field}.options`, `${options.data[0]} is no option of a bind mount`);
    const slot = plan.tree(mount.source, options.bind.recursive);
    const { set, clear, setAll, clearAll } = options;
    // what others write to the files of a process must reach the kernel
    if (destination === '/proc') flags |= FLAG.PROC;
    if (idMap) plan.add(idMap);
    plan.add(['BIND', slot, destination, set, clear, setAll, clearAll, propagation, flags]);
    return;
  }
  const type = mount.type;
  if (!type) throw invalid(`${field}.type`, 'must be given for anything but a bind mount');
  const attributes = options.set | options.setAll;
  if (type === 'cgroup' || type === 'cgroup2') {
    planCgroups(plan, destination, attributes, context.cgroups, field);
    return;
  }
  if (destination === '/proc' && type !== 'proc') throw invalid(`${field}.type`, 'must be proc for /proc');
  // the kernel's own file systems go where they belong, not where a link of the image leads
  const kernel =
    type === 'proc' || type === 'sysfs' || destination === '/dev' || destination.startsWith('/dev/');
  if (kernel) flags |= FLAG.NO_SYMLINKS;
  if (options.copyUp) flags |= FLAG.COPY_UP;
  if (idMap) plan.add(idMap);
  const data = [...options.data, ...labelOptions(type, options, spec)];
  plan.add(['MOUNT', type, mount.source ?? type, destination, data, attributes, propagation, flags]);
}

/** Version 2 as a mount of its own; otherwise a tmpfs with the container's directory of every hierarchy. */
function planCgroups(
  plan: MountPlan,
  destination: string,
  attributes: bigint,
  cgroups: CgroupPlacement | undefined,
  field: string,
): void {
  if (!cgroups) throw invalid(field, 'needs the container to have a cgroup');
  if (cgroups.unified) {
    plan.add(['MOUNT', 'cgroup2', 'cgroup', destination, [], attributes, MS_PRIVATE, FLAG.NO_SYMLINKS]);
    return;
  }
  const options = ['mode=755', 'size=64k'];
  plan.add([
    'MOUNT',
    'tmpfs',
    'cgroup',
    destination,
    options,
    attributes & ~RDONLY,
    MS_PRIVATE,
    FLAG.NO_SYMLINKS,
  ]);
  for (const { name, directory, links } of cgroups.hierarchies) {
    const slot = plan.tree(directory, false);
    plan.add([
      'BIND',
      slot,
      `${destination}/${name}`,
      attributes | HARMLESS,
      0n,
      0n,
      0n,
      MS_PRIVATE,
      FLAG.NO_SYMLINKS,
    ]);
    for (const link of links) plan.add(['SYMLINK', name, `${destination}/${link}`]);
  }
  if (attributes & RDONLY) plan.add(['ATTRIBUTES', destination, RDONLY, 0n, 0]);
}

function deviceOperation(device: DeviceSpec, field: string): Operation {
  const { type, path, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const { major = 0, minor = 0 } = device;
  if (type !== 'p' && (device.major === undefined || device.minor === undefined || major < 0 || minor < 0)) {
    throw invalid(field, `${path} needs a major and a minor number`);
  }
  // 12 and 20 bits are what the kernel keeps; more would name another device
  if (major > 0xfff || minor > 0xf_ffff) {
    throw invalid(field, `${path}: the kernel knows no device ${major}:${minor}`);
  }
  return ['DEVICE', normalize(path), S_IFMT[type] | fileMode, major, minor, uid, gid];
}

function planDevices(plan: MountPlan, spec: Spec): void {
  const asked = spec.linux?.devices ?? [];
  const named = new Set(asked.map((device) => normalize(device.path)));
  for (const device of DEFAULT_DEVICES) {
    if (!named.has(device.path)) plan.add(deviceOperation(device, 'linux.devices'));
  }
  asked.forEach((device, i) => plan.add(deviceOperation(device, `linux.devices[${i}]`)));
  plan.add(['SYMLINK', '/proc/self/fd', '/dev/fd']);
  plan.add(['SYMLINK', '/proc/self/fd/0', '/dev/stdin']);
  plan.add(['SYMLINK', '/proc/self/fd/1', '/dev/stdout']);
  plan.add(['SYMLINK', '/proc/self/fd/2', '/dev/stderr']);
  plan.add(['SYMLINK', '/proc/kcore', '/dev/core']);
  plan.add(['SYMLINK', 'pts/ptmx', '/dev/ptmx']);
}
