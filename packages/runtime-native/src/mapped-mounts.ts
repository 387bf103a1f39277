/** Mounts that show other owners than are on disk (`X-mount.idmap`, as in mount(8)): files stay as they are. */
import { closeSync, constants, mkdtempSync, openSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

import { load } from '#binding';
import type { Mount } from './runtime.ts';

const OPTION = 'X-mount.idmap=';
const LOWER = 'lowerdir=';

// <linux/mount.h>, <fcntl.h>
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const O_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_IDMAP = 0x100000;
const MNT_DETACH = 2;

/** Whether a mount is to show owners as a user namespace has them. */
export function mapsOwners({ options }: Mount): boolean {
  return options.some((option) => option.startsWith(OPTION));
}

/**
 * Calls `use` with the mount whose sources are where their owners are mapped, for as long as that takes: what is mounted
 * from there keeps the mapping.
 *
 * @throws {Error} errno codes: `EINVAL` for other types than bind mounts and overlays that are read only, and for a file
 * system that cannot do it; `ENOENT` for a namespace that is not there
 */
export function withMappedOwners(mount: Mount, use: (mapped: Mount) => void): void {
  const namespace = mount.options.find((option) => option.startsWith(OPTION))!.slice(OPTION.length);
  const options = mount.options.filter((option) => !option.startsWith(OPTION));
  if (mount.type === 'bind') {
    withTree(mount.source, namespace, (place) => use({ ...mount, source: place, options }));
    return;
  }
  if (mount.type !== 'overlay') throw invalid(`owners cannot be mapped in a ${mount.type}`);
  if (options.some((option) => option.startsWith('upperdir='))) {
    // overlayfs writes as who mounted it, and the mapping has no place for the owner that would have
    throw invalid('owners can be mapped only in an overlay without an upper directory');
  }
  const isLower = (option: string): boolean => option.startsWith(LOWER);
  const layers = options.filter(isLower).flatMap((option) => splitLayers(option.slice(LOWER.length)));
  // one tree for all of them
  const folder = commonFolder(layers);
  withTree(folder, namespace, (place) => {
    const moved = layers.map((path) => escapeLayer(join(place, relative(folder, path))));
    const rest = options.filter((option) => !isLower(option));
    use({ ...mount, options: [LOWER + moved.join(':'), ...rest] });
  });
}

/** Splits at colons that are not escaped, and unescapes: `lowerdir+` takes a path as it is. */
export function splitLayers(value: string): string[] {
  return (value.match(/(?:\\.|[^:\\])+/g) ?? []).map((layer) => layer.replace(/\\(.)/g, '$1'));
}

function escapeLayer(path: string): string {
  return path.replace(/[\\:,]/g, String.raw`\$&`);
}

function invalid(why: string, cause?: unknown): Error {
  return Object.assign(new Error(`EINVAL: ${why}`, { cause }), { code: 'EINVAL' });
}

/** The innermost folder that all are in. */
function commonFolder(folders: readonly string[]): string {
  const isIn = (folder: string) => (path: string) => path.startsWith(folder === '/' ? '/' : `${folder}/`);
  let folder = dirname(folders[0] ?? '/');
  while (!folders.every(isIn(folder))) folder = dirname(folder);
  return folder;
}

/** Shows the tree at `source`, with what is mounted below, at a place of its own while `use` runs. */
function withTree(source: string, namespace: string, use: (place: string) => void): void {
  const native = load();
  using ends = new DisposableStack();
  const user = ends.adopt(openSync(namespace, constants.O_RDONLY), closeSync);
  const tree = ends.adopt(
    native.openTree(AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE),
    closeSync,
  );
  try {
    native.mountSetattr(tree, '', AT_EMPTY_PATH | AT_RECURSIVE, MOUNT_ATTR_IDMAP, 0, 0, user);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    throw invalid(
      `this kernel cannot map owners in the file system at ${source}, or in one that is mounted below it`,
      error,
    );
  }
  const place = mkdtempSync(join(tmpdir(), 'tare-mount-'));
  ends.defer(() => rmdirSync(place));
  native.moveMount(tree, '', AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH);
  ends.defer(() => native.umount(place, MNT_DETACH));
  use(place);
}
