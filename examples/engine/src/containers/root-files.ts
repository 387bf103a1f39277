/**
 * Reads small files of a container's root: of the layers when it is not mounted anywhere, through the process's root
 * when it runs. What is read is hostile: bounded, regular files only, no link leads out of the root.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  readlinkSync,
  type Stats,
} from 'node:fs';
import { join } from 'node:path';

import { systemError } from '../errors.ts';

/** The calls that `node:fs` lacks. */
export interface RootSyscalls {
  /** Opens `path` for reading as if `root` were `/`: openat2(2) with RESOLVE_IN_ROOT. Throws errno errors. */
  openInRoot(root: string, path: string): number;
  /** Whether a directory of a layer hides the same directory of the layers below it. */
  isOpaque(directory: string): boolean;
  /** flock(2), exclusive: false when somebody else has the lock. It goes with the descriptor. */
  tryLock(fd: number): boolean;
}

/** One file system of a root, as the snapshotter describes it. */
interface RootMount {
  type: string;
  source: string;
  options: readonly string[];
}

/** Larger passwd and group files than this are nobody's; they are meant to exhaust memory. */
const MAX_FILE_BYTES = 1024 * 1024;
/** The kernel's own limit on links in one lookup. */
const MAX_LINKS = 40;

/**
 * Reads `path` out of a root that is not mounted, by looking through its layers as overlayfs would.
 *
 * @returns undefined when there is no such regular file
 * @throws {EngineError} `SYSTEM` for a file above 1 MiB
 */
export function readFromLayers(
  mounts: readonly RootMount[],
  path: string,
  syscalls: Pick<RootSyscalls, 'isOpaque'>,
): string | undefined {
  const layers = layerDirectories(mounts);
  let pending = parts(path);
  let directory: string[] = [];
  let visible = layers;
  let links = 0;
  while (pending.length > 0) {
    const [name, ...rest] = pending as [string, ...string[]];
    pending = rest;
    if (name === '..') {
      directory = directory.slice(0, -1);
      visible = descend(layers, directory, syscalls);
      continue;
    }
    const found = findEntry(visible, [...directory, name]);
    if (!found) return undefined;
    if (found.stat.isSymbolicLink()) {
      links += 1;
      if (links > MAX_LINKS) return undefined;
      const target = readlinkSync(found.path);
      pending = [...parts(target), ...rest];
      if (target.startsWith('/')) {
        directory = [];
        visible = layers;
      }
    } else if (rest.length === 0) {
      if (!found.stat.isFile()) return undefined;
      return readBounded(openSync(found.path, constants.O_RDONLY | constants.O_NOFOLLOW), path);
    } else {
      if (!found.stat.isDirectory()) return undefined;
      directory = [...directory, name];
      visible = descend(layers, directory, syscalls);
    }
  }
  return undefined;
}

/** Reads `path` in a root that a path leads into, `/proc/<pid>/root`. Errors as {@link readFromLayers}. */
export function readFromRoot(
  root: string,
  path: string,
  syscalls: Pick<RootSyscalls, 'openInRoot'>,
): string | undefined {
  let fd: number;
  try {
    fd = syscalls.openInRoot(root, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw error;
  }
  return readBounded(fd, path);
}

/** Closes `fd`. */
function readBounded(fd: number, path: string): string | undefined {
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return undefined;
    const buffer = Buffer.alloc(Math.min(stat.size, MAX_FILE_BYTES) + 1);
    let length = 0;
    for (;;) {
      const read = readSync(fd, buffer, length, buffer.length - length, length);
      if (read === 0) break;
      length += read;
      if (length > MAX_FILE_BYTES) throw systemError(`${path} in the container is larger than 1 MiB`);
      if (length === buffer.length) break;
    }
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** The layers of a root, topmost first. */
function layerDirectories(mounts: readonly RootMount[]): string[] {
  const result: string[] = [];
  for (const { type, source, options } of mounts) {
    if (type !== 'overlay') {
      result.push(source);
      continue;
    }
    const value = (name: string): string | undefined =>
      options.find((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
    const upper = value('upperdir');
    if (upper !== undefined) result.push(upper);
    result.push(...(value('lowerdir') ?? '').split(':').filter((directory) => directory !== ''));
  }
  return result;
}

/** The layers that show through in `directory`, which holds no links. */
function descend(
  layers: readonly string[],
  directory: readonly string[],
  syscalls: Pick<RootSyscalls, 'isOpaque'>,
): string[] {
  let visible = [...layers];
  for (let length = 1; length <= directory.length; length += 1) {
    const next: string[] = [];
    for (const layer of visible) {
      const path = join(layer, ...directory.slice(0, length));
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (!stat) continue;
      // a whiteout, or another kind of file, hides what is below
      if (!stat.isDirectory()) break;
      next.push(layer);
      if (syscalls.isOpaque(path)) break;
    }
    visible = next;
  }
  return visible;
}

function findEntry(
  layers: readonly string[],
  name: readonly string[],
): { path: string; stat: Stats } | undefined {
  for (const layer of layers) {
    const path = join(layer, ...name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat) continue;
    // a whiteout is a character device 0:0
    return stat.isCharacterDevice() && stat.rdev === 0 ? undefined : { path, stat };
  }
  return undefined;
}
