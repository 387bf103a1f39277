/** What an archive says of a file, told by the inode behind its name. */
import * as fs from 'node:fs';
import { fsName, type Directory } from '../apply/directory-tree.ts';
import { toContainer, type IdMap } from '../apply/id-map.ts';
import { isLayerXattr } from '../apply/xattrs.ts';
import { systemCode } from '../errors.ts';
import type { LayerFs, PlainFile } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import { tarEntry } from '../tar/write.ts';
import { tarTypeOf, type ByteString, type TarEntry, type TarEntryType } from '../tar/entry.ts';

/** How archives deviate from what is on disk. */
export interface DescribeOptions {
  fs: LayerFs;
  /** Shifts owners of the host back to those of the image. Default: ids are the same on both sides. */
  idMap?: IdMap | undefined;
  /** Owner of everything. Default: as it is. */
  owner?: { uid: number; gid: number };
  /** Permission bits of a file, in place of its own. Default: as they are. */
  modeOf?: (entry: TarEntry) => number;
  /** Time of everything, in nanoseconds. Default: as it is. */
  mtimeNs?: bigint;
  /** Later times become this one, in nanoseconds. Default: none do. */
  maxMtimeNs?: bigint | undefined;
}

/** Everything of `name`, as the member `path`. */
export function describeMember(
  parent: Directory,
  name: ByteString,
  path: ByteString,
  options: DescribeOptions,
  stat = fs.lstatSync(inDirectory(parent.fd, fsName(name)), { bigint: true }),
): TarEntry {
  const entry = describeInode(path, stat, options);
  if (entry.type === 'symlink') {
    entry.linkName = fs.readlinkSync(inDirectory(parent.fd, fsName(name)), { encoding: 'latin1' });
  }
  const xattrs = new Map<string, Uint8Array>();
  for (const attribute of attributesOf(options.fs, parent, name)) {
    if (!isLayerXattr(attribute)) continue;
    const value = options.fs.getxattrat(parent.fd, fsName(name), attribute);
    if (value !== undefined) xattrs.set(attribute, value);
  }
  entry.xattrs = xattrs;
  return entry;
}

/** What an inode alone says: no target of a link, no attributes. */
export function describeInode(name: ByteString, stat: fs.BigIntStats, options: DescribeOptions): TarEntry {
  const type = tarTypeOf(stat)!;
  const { rdev, mtimeNs } = stat;
  const facts = {
    mode: Number(stat.mode),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: type === 'file' ? Number(stat.size) : 0,
    mtimeNs,
  };
  const entry = describe(name, type, facts, options);
  if (type !== 'character-device' && type !== 'block-device') return entry;
  // makedev(3) of Linux
  entry.devMajor = Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn));
  entry.devMinor = Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn));
  return entry;
}

/** A file of which there is no more to know. */
export function describePlainFile(name: ByteString, file: PlainFile, options: DescribeOptions): TarEntry {
  return describe(name, 'file', file, options);
}

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

function describe(
  name: ByteString,
  type: TarEntryType,
  facts: PlainFile,
  options: DescribeOptions,
): TarEntry {
  const { mode, size } = facts;
  const { mtimeNs = facts.mtimeNs, maxMtimeNs, modeOf, idMap } = options;
  const owner = options.owner ?? (idMap === undefined ? facts : toContainer(idMap, facts));
  const entry: TarEntry = {
    name,
    type,
    mode: mode & 0o7777,
    uid: owner.uid,
    gid: owner.gid,
    size,
    mtimeNs: maxMtimeNs !== undefined && mtimeNs > maxMtimeNs ? maxMtimeNs : mtimeNs,
    atimeNs: undefined,
    linkName: '',
    devMajor: 0,
    devMinor: 0,
    xattrs: NO_XATTRS,
  };
  if (modeOf !== undefined && type !== 'symlink') entry.mode = modeOf(entry);
  return entry;
}

/** A whiteout: the same wherever and whenever it is made. */
export function emptyMember(name: ByteString): TarEntry {
  return tarEntry('file', '', { name, mode: 0 });
}

function attributesOf(layerFs: LayerFs, parent: Directory, name: ByteString): string[] {
  try {
    return layerFs.listxattrat(parent.fd, fsName(name));
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOENT') return [];
    throw error;
  }
}
