/** Copies one file, link or node with all that is known of it: from layer to layer, from tree to tree. */
import * as fs from 'node:fs';
import { systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';
import { fsName, type Directory } from './directory-tree.ts';
import { isUnsupported } from './metadata.ts';

const { COPYFILE_EXCL, COPYFILE_FICLONE } = fs.constants;

/** A name in an open directory. */
export interface Place {
  directory: Directory;
  name: ByteString;
}

/**
 * Copies what is at `from` to `to`, where nothing is. Content is shared where the file system can (reflink). Directories
 * come without what is in them, and sockets not at all.
 *
 * @returns whether something was made
 */
export function copyNode(layerFs: LayerFs, from: Place, to: Place, stat: fs.BigIntStats): boolean {
  const source = inDirectory(from.directory.fd, fsName(from.name));
  const target = fsName(to.name);
  const { fd } = to.directory;
  if (stat.isFile()) {
    fs.copyFileSync(source, inDirectory(fd, target), COPYFILE_EXCL | COPYFILE_FICLONE);
  } else if (stat.isSymbolicLink()) {
    layerFs.symlinkat(fs.readlinkSync(source, { encoding: 'buffer' }), fd, target);
  } else if (stat.isDirectory()) layerFs.mkdirat(fd, target, 0o700);
  else if (stat.isSocket()) return false;
  else layerFs.mknodat(fd, target, Number(stat.mode), ...deviceOf(stat));
  copyMetadata(layerFs, from, to, stat);
  return true;
}

/** Gives what is at `to` the owner, mode, attributes and times of what is at `from`. */
export function copyMetadata(layerFs: LayerFs, from: Place, to: Place, stat: fs.BigIntStats): void {
  const { fd } = to.directory;
  const target = fsName(to.name);
  // the order matters: chown clears setuid and file capabilities
  layerFs.fchownat(fd, target, Number(stat.uid), Number(stat.gid));
  if (!stat.isSymbolicLink()) layerFs.fchmodat(fd, target, Number(stat.mode) & 0o7777);
  for (const [attribute, value] of xattrsOf(layerFs, from)) layerFs.setxattrat(fd, target, attribute, value);
  layerFs.utimensat(fd, target, stat.atimeNs, stat.mtimeNs);
}

/** Extended attributes, those of the overlay file system left out; none where there cannot be any. */
export function xattrsOf(layerFs: LayerFs, { directory, name }: Place): Map<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>();
  try {
    for (const attribute of layerFs.listxattrat(directory.fd, fsName(name))) {
      if (/^(trusted|user)\.overlay\./.test(attribute)) continue;
      const value = layerFs.getxattrat(directory.fd, fsName(name), attribute);
      if (value !== undefined) xattrs.set(attribute, value);
    }
  } catch (error) {
    if (!isUnsupported(error)) throw error;
  }
  return xattrs;
}

/** lstat(2) with nanoseconds, or undefined when there is nothing. */
export function statAt({ directory, name }: Place): fs.BigIntStats | undefined {
  try {
    return fs.lstatSync(inDirectory(directory.fd, fsName(name)), { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** makedev(3) of Linux, backwards. */
export function deviceOf({ rdev }: fs.BigIntStats): [major: number, minor: number] {
  return [
    Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn)),
  ];
}
