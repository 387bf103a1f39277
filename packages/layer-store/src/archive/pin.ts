/** Opens what is inside a directory, never through a link, and nothing but to look at it. */
import * as fs from 'node:fs';
import { fsName, type Directory } from '../apply/directory-tree.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import { RESOLVE, type LayerFs } from '../fs.ts';
import { O_PATH } from '../node-fs.ts';
import { printable, type ByteString } from '../tar/entry.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants;

/** Holds the inode behind a name; `foreign` when it is on a mount that is not wanted. Undefined: there is none. */
export function pinInode(
  options: { fs: LayerFs; oneFileSystem?: boolean },
  parent: Directory,
  name: ByteString,
  required: boolean,
): { fd: number; foreign: boolean } | undefined {
  const open = (resolve: number): number =>
    options.fs.openat2(parent.fd, fsName(name), { flags: O_PATH | O_NOFOLLOW, resolve });
  const resolve = RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS;
  try {
    if (options.oneFileSystem !== true) return { fd: open(resolve), foreign: false };
    try {
      return { fd: open(resolve | RESOLVE.NO_XDEV), foreign: false };
    } catch (error) {
      if (systemCode(error) !== 'EXDEV') throw error;
      return { fd: open(resolve), foreign: true };
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw readError(error, name);
    if (!required) return undefined;
    throw new LayerStoreError('NOT_FOUND', `${printable(name)} is not there`, { cause: error });
  }
}

/** Opens a directory to read it. `'other'`: the name is there, but no directory. */
export function openDirectory(
  layerFs: LayerFs,
  parent: Directory,
  name: ByteString,
): number | 'missing' | 'other' {
  try {
    return layerFs.openat2(parent.fd, fsName(name), {
      flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
      resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
    });
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return 'missing';
    if (code === 'ENOTDIR' || code === 'ELOOP') return 'other';
    throw error;
  }
}

/** Opens an open directory once more, to read it. */
export function reopen(directory: number): number {
  return fs.openSync(`/proc/self/fd/${directory}/.`, O_RDONLY | O_DIRECTORY);
}

/** System errors get the name of what they are about. */
export function readError(error: unknown, path: ByteString): LayerStoreError {
  if (error instanceof LayerStoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new LayerStoreError('IO_ERROR', `cannot read ${printable(path)}: ${message}`, {
    cause: error,
    entry: path,
  });
}
