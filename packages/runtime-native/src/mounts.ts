/** Mounts of this process's own mount namespace: making and removing them, and reading the kernel's table. */
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { load } from '#binding';
import { mapsOwners, splitLayers, withMappedOwners } from './mapped-mounts.ts';
import type { Mount } from './runtime.ts';
import type { Path } from './path.ts';

/** One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)). */
export interface MountPoint {
  id: number;
  parentId: number;
  /** `major:minor`. */
  device: string;
  /** The folder of the file system that is mounted. */
  root: string;
  target: string;
  options: string[];
  /** `shared:N`, `master:N`, …; empty for a private mount. */
  propagation: string[];
  type: string;
  source: string;
  superOptions: string[];
}

// <sys/mount.h> and <linux/mount.h>
const MS_REMOUNT = 32;
const MS_BIND = 4096;
const MS_REC = 16384;
const UMOUNT_NOFOLLOW = 8;
const MNT_DETACH = 2;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const OPEN_TREE_CLONE = 1;
const O_CLOEXEC = 0o2000000;
/** MOUNT_ATTR_RDONLY, NOSUID, NODEV and NOEXEC have the bits of their MS_ counterparts. */
const ATTRIBUTES = 15;

/** mount(8) options that are flags of mount(2): the bits to set and to clear. */
const FLAGS: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  defaults: [0, 0],
  ro: [1, 0],
  rw: [0, 1],
  nosuid: [2, 0],
  suid: [0, 2],
  nodev: [4, 0],
  dev: [0, 4],
  noexec: [8, 0],
  exec: [0, 8],
  sync: [16, 0],
  async: [0, 16],
  dirsync: [128, 0],
  nosymfollow: [256, 0],
  noatime: [1024, 0],
  atime: [0, 1024],
  nodiratime: [2048, 0],
  diratime: [0, 2048],
  bind: [MS_BIND, 0],
  rbind: [MS_BIND | MS_REC, 0],
  relatime: [1 << 21, 0],
  strictatime: [1 << 24, 0],
  lazytime: [1 << 25, 0],
};

const PROPAGATION: Readonly<Record<string, number>> = {
  unbindable: 1 << 17,
  runbindable: (1 << 17) | MS_REC,
  private: 1 << 18,
  rprivate: (1 << 18) | MS_REC,
  slave: 1 << 19,
  rslave: (1 << 19) | MS_REC,
  shared: 1 << 20,
  rshared: (1 << 20) | MS_REC,
};

/** open(2): a descriptor of the place alone. Node's constants leave it out. */
const O_PATH = 0o10_000_000;
/** mount(2) takes a page of options, the closing NUL included. */
const OPTIONS_MAX_BYTES = 4095;

/**
 * Mounts what `mount` describes at `target`, an existing folder (or file, for a bind mount of one).
 *
 * A bind mount with further flags (`ro`, `nosuid`, …) is made in two steps, undone when the second fails. An overlay
 * whose layers do not fit mount(2)'s page is mounted through fsconfig(2). With `X-mount.idmap=` and the path of a user
 * namespace (`createUserNamespace`), a bind mount, or an overlay without upper directory, shows owners as that namespace has them (Linux 5.19).
 *
 * @throws {Error} errno codes with `path`
 */
export function mountAt(mount: Mount, target: Path): void {
  if (mapsOwners(mount)) {
    withMappedOwners(mount, (mapped) => mountAt(mapped, target));
    return;
  }
  const { flags, propagation, data } = parseOptions(mount);
  const native = load();
  const options = mount.type === 'overlay' ? joinLayers(data).join(',') : data.join(',');

  if (mount.type === 'overlay' && Buffer.byteLength(options) > OPTIONS_MAX_BYTES) {
    mountLargeOverlay(mount.source, data, flags, target);
  } else if (flags & MS_BIND) {
    native.mount(mount.source, target, undefined, flags & (MS_BIND | MS_REC), undefined);
    const rest = flags & ~(MS_BIND | MS_REC);
    // the kernel ignores every other flag when it binds, and takes them when it remounts
    if (rest !== 0)
      undoing(target, () =>
        native.mount(undefined, target, undefined, MS_REMOUNT | MS_BIND | rest, undefined),
      );
  } else {
    native.mount(mount.source, target, mount.type, flags, options);
  }
  for (const change of propagation) {
    undoing(target, () => native.mount(undefined, target, undefined, change, undefined));
  }
}

/**
 * Opens what `mount` describes without mounting it anywhere: nobody else sees it, and closing the descriptor is the end
 * of it. Bind mounts and overlays only.
 *
 * @returns an O_PATH descriptor of its root, for the caller to close
 * @throws {Error} errno codes; `EINVAL` for other types
 */
export function openMount(mount: Mount): number {
  if (mapsOwners(mount)) return throughPlace(mount);
  const { flags, data } = parseOptions(mount);
  const native = load();
  if (mount.type === 'bind') {
    const tree = native.openTree(AT_FDCWD, mount.source, OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
    if ((flags & ATTRIBUTES) === 0) return tree;
    try {
      native.mountSetattr(tree, '', AT_EMPTY_PATH | AT_RECURSIVE, flags & ATTRIBUTES, 0, 0);
      return tree;
    } catch (error) {
      closeSync(tree);
      throw error;
    }
  }
  if (mount.type !== 'overlay') {
    throw Object.assign(new Error(`EINVAL: a ${mount.type} cannot be opened without mounting it`), {
      code: 'EINVAL',
    });
  }
  try {
    return openOverlay(mount.source, data, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    // before Linux 6.5 layers go in as one option: mounted for a moment, then taken away from there
    return throughPlace(mount);
  }
}

/** {@link mountAt} of several, in order; those already made are undone when one fails. */
export function mount(mounts: readonly Mount[], target: Path): void {
  let made = 0;
  try {
    for (const one of mounts) {
      mountAt(one, target);
      made += 1;
    }
  } catch (error) {
    for (; made > 0; made--) unmount(target, { lazy: true });
    throw error;
  }
}

/**
 * Unmounts the topmost mount at `target`; a symbolic link there is not followed.
 *
 * @param options `lazy` detaches at once and lets users of it finish; default false
 * @returns whether there was a mount
 * @throws {Error} `EBUSY`
 */
export function unmount(target: Path, options: { lazy?: boolean } = {}): boolean {
  try {
    load().umount(target, UMOUNT_NOFOLLOW | (options.lazy ? MNT_DETACH : 0));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // EINVAL: not a mount point
    if (code === 'EINVAL' || code === 'ENOENT') return false;
    throw error;
  }
}

/** The mounts that a process sees, in the kernel's order. Default: this process. */
export function mountTable(pid: number | 'self' = 'self'): MountPoint[] {
  return parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
}

/** Parses the text of a mountinfo file. Lines that do not have its shape are an error of the caller: TypeError. */
export function parseMountInfo(text: string): MountPoint[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseMountInfoLine);
}

function parseMountInfoLine(line: string): MountPoint {
  const fields = line.split(' ');
  const separator = fields.indexOf('-', 6);
  const [id, parentId, device, root, target, options] = fields;
  const [type, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || options === undefined || superOptions === undefined) {
    throw new TypeError(`not a line of mountinfo: ${JSON.stringify(line)}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device: device!,
    root: unescape(root!),
    target: unescape(target!),
    options: options.split(','),
    propagation: fields.slice(6, separator),
    type: type!,
    source: unescape(source!),
    superOptions: superOptions.split(','),
  };
}

/** The kernel writes space, tab, newline and backslash as octal. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Several `lowerdir=` options, topmost first, as the one that mount(2) takes. */
function joinLayers(options: readonly string[]): string[] {
  const lower = options.filter((option) => option.startsWith('lowerdir='));
  if (lower.length < 2) return [...options];
  const rest = options.filter((option) => !option.startsWith('lowerdir='));
  return [`lowerdir=${lower.map((option) => option.slice('lowerdir='.length)).join(':')}`, ...rest];
}

function parseOptions(mount: Mount): { flags: number; propagation: number[]; data: string[] } {
  let flags = mount.type === 'bind' ? MS_BIND : 0;
  const propagation: number[] = [];
  const data: string[] = [];
  for (const option of mount.options) {
    const change = FLAGS[option];
    if (change) flags = (flags | change[0]) & ~change[1];
    else if (option in PROPAGATION) propagation.push(PROPAGATION[option]!);
    else data.push(option);
  }
  return { flags, propagation, data };
}

function throughPlace(mount: Mount): number {
  const place = mkdtempSync(join(tmpdir(), 'tare-mount-'));
  try {
    mountAt(mount, place);
    try {
      return load().openTree(AT_FDCWD, place, OPEN_TREE_CLONE | O_CLOEXEC);
    } finally {
      unmount(place, { lazy: true });
    }
  } finally {
    rmdirSync(place);
  }
}

function mountLargeOverlay(source: string, options: readonly string[], flags: number, target: Path): void {
  let mounted: number;
  try {
    mounted = openOverlay(source, options, flags);
  } catch (error) {
    // a kernel that has no `lowerdir+` takes it for one more option, and has too many of them or does not know it
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    mountOverlayByDescriptor(source, options, flags, target);
    return;
  }
  try {
    load().moveMount(mounted, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    closeSync(mounted);
  }
}

/** Layers one by one (`lowerdir+`, Linux 6.5), so that their number is bounded by overlayfs alone. */
function openOverlay(source: string, options: readonly string[], flags: number): number {
  const native = load();
  const context = native.fsopen('overlay');
  try {
    native.fsconfig(context, 'source', source);
    for (const option of options) {
      const at = option.indexOf('=');
      const key = at < 0 ? option : option.slice(0, at);
      const value = at < 0 ? undefined : option.slice(at + 1);
      if (key === 'lowerdir')
        for (const layer of splitLayers(value!)) native.fsconfig(context, 'lowerdir+', layer);
      else native.fsconfig(context, key, value);
    }
    if (flags & 1) native.fsconfig(context, 'ro', undefined);
    return native.fsmount(context, flags & ATTRIBUTES);
  } finally {
    closeSync(context);
  }
}

/** For older kernels: directories by the names of their descriptors, which are short; two hundred fit the page. */
function mountOverlayByDescriptor(
  source: string,
  options: readonly string[],
  flags: number,
  target: Path,
): void {
  const opened: number[] = [];
  const nameOf = (directory: string): string => {
    opened.push(openSync(directory, O_PATH | constants.O_DIRECTORY));
    return `/proc/self/fd/${opened.at(-1)}`;
  };
  try {
    const data = options.map((option) => {
      const [key, value = ''] = [option.slice(0, option.indexOf('=')), option.slice(option.indexOf('=') + 1)];
      if (key === 'lowerdir') return `lowerdir=${splitLayers(value).map(nameOf).join(':')}`;
      return key === 'upperdir' || key === 'workdir' ? `${key}=${nameOf(value)}` : option;
    });
    load().mount(source, target, 'overlay', flags, joinLayers(data).join(','));
  } finally {
    opened.forEach((fd) => closeSync(fd));
  }
}

function undoing(target: Path, step: () => void): void {
  try {
    step();
  } catch (error) {
    unmount(target, { lazy: true });
    throw error;
  }
}
