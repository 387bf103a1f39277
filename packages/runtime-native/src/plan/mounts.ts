/** The entries of `mounts`: trees of the host, file systems of the kernel, cgroups. */
import type { MountSpec, Spec } from '../spec/config.ts';
import type { PlanContext } from './context.ts';
import { planDevices } from './devices.ts';
import { MS_PRIVATE, parseMountOptions } from './mount-options.ts';
import type { MountOptions } from './mount-options.ts';
import { FLAG, idMapsOf, normalize, refuse } from './mount-plan.ts';
import type { MountPlan } from './mount-plan.ts';
import { hostId } from './namespaces.ts';
import type { Namespaces, UserNamespace } from './namespaces.ts';
import { cannot, invalid, missing } from './validate.ts';

const RDONLY = 1n;
const HARMLESS = 2n | 4n | 8n; // nosuid, nodev, noexec

/** Files of procfs that LXCFS and its like replace; anything else there is the kernel's. */
const PROC_FILES = new Set(
  ['cpuinfo', 'diskstats', 'loadavg', 'meminfo', 'slabinfo', 'stat', 'swaps', 'uptime'].map(
    (name) => `/proc/${name}`,
  ),
);

/**
 * File systems of the kernel that show a namespace, by its kind, and where the host has them: only a user who has power
 * over that namespace can mount one.
 */
const SHOWS = {
  proc: ['pid', '/proc'],
  sysfs: ['network', '/sys'],
  mqueue: ['ipc', '/dev/mqueue'],
} as const;

/** What the root of any user namespace may mount; other file systems are for the root of the host. */
const FOR_EVERYBODY = new Set(['tmpfs', 'ramfs', 'devpts', 'overlay', 'fuse', ...Object.keys(SHOWS)]);

/** Every entry of `mounts`, and the devices right after `/dev`, so that later mounts may cover single devices. */
export function planMounts(
  plan: MountPlan,
  spec: Spec,
  namespaces: Namespaces,
  user: UserNamespace | undefined,
  context: PlanContext,
): void {
  if (spec.linux?.mountLabel && !context.securityModules.selinux)
    throw missing('linux.mountLabel', 'SELinux');
  const scope: Scope = { spec, namespaces, user, context };
  let devices = false;
  (spec.mounts ?? []).forEach((mount, i) => {
    planMount(plan, mount, `mounts[${i}]`, scope);
    if (normalize(mount.destination) === '/dev') {
      // a /dev of the host's has its devices
      if (!parseMountOptions(mount.options ?? [], mount.type).bind) planDevices(plan, spec, user, context);
      devices = true;
    }
  });
  if (!devices) planDevices(plan, spec, user, context);
}

/** What a mount is planned with besides itself. */
interface Scope {
  spec: Spec;
  namespaces: Namespaces;
  user: UserNamespace | undefined;
  context: PlanContext;
}

/** File systems whose labels the kernel decides. */
const LABELLED_BY_KERNEL = new Set(['proc', 'sysfs', 'mqueue', 'cgroup', 'cgroup2']);

/** SELinux: everything in the file system gets the label of the spec. */
function labelOptions(type: string, options: MountOptions, spec: Spec): string[] {
  const label = spec.linux?.mountLabel;
  if (!label || LABELLED_BY_KERNEL.has(type)) return [];
  return options.data.some((option) => option.startsWith('context=')) ? [] : [`context=${label}`];
}

function planMount(plan: MountPlan, mount: MountSpec, field: string, scope: Scope): void {
  const { spec, user, context } = scope;
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
  const mapped = options.idmap || mount.uidMappings?.length || mount.gidMappings?.length;
  const maps = mapped ? idMapsOf({ ...mount, ...options.idmap?.maps }, spec, field) : undefined;
  if (options.remount) return planRemount(plan, destination, options, field);
  if (options.bind) {
    if (!mount.source?.startsWith('/')) throw invalid(`${field}.source`, 'must be an absolute path');
    if (options.data.length > 0)
      throw invalid(`${field}.options`, `${options.data[0]} is no option of a bind mount`);
    const slot = plan.tree(mount.source, options.bind.recursive);
    if (maps) plan.mapTree(slot, maps, options.idmap?.recursive ?? false, destination);
    const { set, clear, setAll, clearAll } = options;
    // what others write to the files of a process must reach the kernel
    if (destination === '/proc') flags |= FLAG.PROC;
    plan.add(['BIND', slot, destination, set, clear, setAll, clearAll, propagation, flags]);
    return;
  }
  const type = mount.type;
  if (!type) throw invalid(`${field}.type`, 'must be given for anything but a bind mount');
  const attributes = options.set | options.setAll;
  if (type === 'cgroup' || type === 'cgroup2') {
    planCgroups(plan, destination, attributes, field, scope);
    return;
  }
  if (destination === '/proc' && type !== 'proc') throw invalid(`${field}.type`, 'must be proc for /proc');
  // the kernel's own file systems go where they belong, not where a link of the image leads
  const kernel =
    type === 'proc' || type === 'sysfs' || destination === '/dev' || destination.startsWith('/dev/');
  if (kernel) flags |= FLAG.NO_SYMLINKS;
  if (options.copyUp) flags |= FLAG.COPY_UP;
  const data = [...mappedData(type, options, user, field, context), ...labelOptions(type, options, spec)];
  const source = mount.source ?? type;
  const outside = user && fromOutside(plan, type, source, data, field, scope);
  if (outside !== undefined) {
    if (maps) throw cannot(field, `ids of a ${type} cannot be mapped in a user namespace`);
    plan.add(['BIND', outside, destination, attributes, 0n, 0n, 0n, propagation, flags]);
    return;
  }
  if (maps) {
    if (user) throw cannot(field, `ids of a ${type} cannot be mapped in a user namespace`);
    plan.add(['MAPPED', plan.idMap(maps), options.idmap?.recursive ? 1 : 0]);
  }
  plan.add(['MOUNT', type, source, destination, data, attributes, propagation, flags]);
}

/** Attributes of what is there: an earlier mount of the container's, whole or with those below it. */
function planRemount(plan: MountPlan, destination: string, options: MountOptions, field: string): void {
  const { data, propagation, copyUp, idmap } = options;
  const other = data[0] ?? (propagation ? 'propagation' : copyUp ? 'tmpcopyup' : idmap ? 'idmap' : undefined);
  if (other !== undefined) throw invalid(`${field}.options`, `${other} cannot be changed with remount`);
  const { set, clear, setAll, clearAll } = options;
  if (set | clear) plan.add(['ATTRIBUTES', destination, set, clear, 0]);
  if (setAll | clearAll) plan.add(['ATTRIBUTES', destination, setAll, clearAll, 1]);
}

/** The group of a terminal can only be one that the user namespace has. */
function mappedData(
  type: string,
  { data }: MountOptions,
  user: UserNamespace | undefined,
  field: string,
  { warn }: PlanContext,
): string[] {
  if (!user || type !== 'devpts') return data;
  return data.filter((option) => {
    const gid = /^gid=(\d+)$/.exec(option)?.[1];
    if (gid === undefined || hostId(user.gids, Number(gid)) !== undefined) return true;
    const message = `${option} has no mapping in linux.gidMappings: terminals have their user's group`;
    warn(cannot(`${field}.options`, message));
    return false;
  });
}

/**
 * The slot of a file system that the root of the user namespace may not mount: one of the host's, or one that shows a
 * namespace of the host's. The caller mounts it, or, without the power to, takes what the host has mounted.
 */
function fromOutside(
  plan: MountPlan,
  type: string,
  source: string,
  data: string[],
  field: string,
  { namespaces, user, context }: Scope,
): number | undefined {
  const shows = SHOWS[type as keyof typeof SHOWS];
  const namespace = shows && namespaces.get(shows[0]);
  // a new one belongs to the user namespace; of one with a path only the caller's power is sure
  const owned = shows ? namespace !== undefined && namespace.path === undefined : FOR_EVERYBODY.has(type);
  if (owned || (type === 'proc' && namespace)) return undefined;
  if (user!.privileged) return plan.make((slot) => ['MOUNT_TREE', slot, type, source, data, 0n]);
  if (!shows || namespace) return undefined;
  const message = `with the ${shows[0]} namespace of the host comes the ${shows[1]} of the host`;
  context.warn(cannot(field, message));
  return plan.tree(shows[1], true);
}

/** Version 2 as a mount of its own; otherwise a tmpfs with the container's directory of every hierarchy. */
function planCgroups(
  plan: MountPlan,
  destination: string,
  attributes: bigint,
  field: string,
  { namespaces, user, context }: Scope,
): void {
  const { cgroups } = context;
  if (!cgroups) {
    if (!user || user.privileged) throw invalid(field, 'needs the container to have a cgroup');
    const message =
      'the container has no cgroup, for none is delegated to this user: the directory stays empty';
    context.warn(cannot(field, message));
    const empty = ['mode=555', 'size=4k'];
    plan.add([
      'MOUNT',
      'tmpfs',
      'cgroup',
      destination,
      empty,
      HARMLESS | RDONLY,
      MS_PRIVATE,
      FLAG.NO_SYMLINKS,
    ]);
    return;
  }
  // in a cgroup namespace that is not the user namespace's, the mount would be the host's to make, and show all of it
  const own = namespaces.get('cgroup');
  if (cgroups.unified && user && (!own || own.path !== undefined)) {
    const [hierarchy] = cgroups.hierarchies;
    const slot = plan.tree(hierarchy!.directory, false);
    const set = attributes | HARMLESS | RDONLY;
    plan.add(['BIND', slot, destination, set, 0n, 0n, 0n, MS_PRIVATE, FLAG.NO_SYMLINKS]);
    return;
  }
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
