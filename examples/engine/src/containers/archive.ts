/** `docker cp`, both ways: files of a container as tar archives, its volumes included. */
import { posix } from 'node:path';

import { invalid, notFound } from '../errors.ts';
import { readFromRoot } from './root-files.ts';
import { withRoot } from './root.ts';
import type { LiveContainer } from './store.ts';
import { followLinks, type FileStat } from './trees.ts';
import { ownerOnHost } from './user-namespaces.ts';
import { resolveUser } from './user.ts';
import type { ContainerWorld } from './world.ts';

/** What is at a path of a container. */
export interface PathStat extends FileStat {
  /** Last component of the path. */
  name: string;
  /** Where a symbolic link leads in the end, as far as it leads; empty for anything else. */
  linkTarget: string;
}

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;

/** @throws {EngineError} `NOT_FOUND` */
export function statArchive(
  world: ContainerWorld,
  container: LiveContainer,
  path: string,
): Promise<PathStat> {
  return withRoot(world, container, async (root) => statPath(world, container, root, path));
}

/**
 * Gives the archive of `path` to `send`, with what is there.
 *
 * Its member is named by the path's last component; with a dot at the end of the path, a directory's content by names
 * that begin with `./`, as dockerd has them.
 *
 * @throws {EngineError} `NOT_FOUND`
 */
export async function readArchive(
  world: ContainerWorld,
  container: LiveContainer,
  path: string,
  signal: AbortSignal,
  send: (stat: PathStat, archive: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  await withRoot(world, container, async (root, ids) => {
    const stat = statPath(world, container, root, path);
    // of the root itself there is nothing but its content; what ends with a dot, clients rename by that dot
    const as = stat.name === '/' ? '.' : stat.name === '.' ? './' : stat.name;
    await send(stat, world.trees.pack(root, absolute(path), as, { ids, signal }));
  });
  world.store.publish(container, 'archive-path');
}

/** How an archive is unpacked. */
export interface WriteArchiveOptions {
  /** Give everything to the container's user. */
  ownByUser: boolean;
  /** Refuse to replace a directory by something else, or the other way round. */
  sameKind: boolean;
  signal: AbortSignal;
}

/**
 * Unpacks an archive into the directory `path`.
 *
 * @throws {EngineError} `NOT_FOUND` for a missing path; `INVALID` when it is no directory or read-only, and for what is
 * wrong with the archive
 */
export async function writeArchive(
  world: ContainerWorld,
  container: LiveContainer,
  path: string,
  archive: AsyncIterable<Uint8Array>,
  options: WriteArchiveOptions,
): Promise<void> {
  await withRoot(world, container, async (root, ids) => {
    const { mode } = statPath(world, container, root, `${absolute(path)}/.`, path);
    if ((mode & S_IFMT) !== S_IFDIR) throw notDirectory();
    const user = options.ownByUser ? ownerOf(world, container, root) : undefined;
    const owner = user && ids ? ownerOnHost(ids, user) : user;
    try {
      await world.trees.extract(archive, root, absolute(path), {
        owner,
        ids,
        sameKind: options.sameKind,
        signal: options.signal,
      });
    } catch (error) {
      throw writeError(container, error);
    }
  });
  world.store.publish(container, 'extract-to-dir');
}

function ownerOf(
  world: ContainerWorld,
  { record }: LiveContainer,
  root: string,
): { uid: number; gid: number } | undefined {
  const { User: user } = record.config;
  if (!user) return undefined;
  const read = (file: string): string | undefined => readFromRoot(root, file, world.syscalls);
  return resolveUser(user, [], { passwd: read('/etc/passwd'), group: read('/etc/group') });
}

function statPath(
  world: ContainerWorld,
  container: LiveContainer,
  root: string,
  path: string,
  shown = path,
): PathStat {
  const wanted = absolute(path);
  try {
    const stat = world.trees.stat(root, wanted);
    const name = wanted === '/' ? '/' : posix.basename(wanted);
    const isLink = (stat.mode & S_IFMT) === S_IFLNK;
    return { ...stat, name, linkTarget: isLink ? followLinks(world.trees, root, wanted) : '' };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') {
      if (code === 'ENOTDIR' && shown !== path) throw notDirectory();
      throw notFound(`Could not find the file ${shown} in container ${container.id}`, { cause: error });
    }
    throw error;
  }
}

function notDirectory(): Error {
  return invalid('extraction point is not a directory');
}

/** With a slash before it; what is at its end stays, since `/.` and `/` mean what is behind a link. */
function absolute(path: string): string {
  const end = /(?:^|\/)\.$/.test(path) ? '/.' : path.endsWith('/') ? '/' : '';
  const normal = posix.join('/', path).replace(/\/$/, '');
  return normal + end || '/';
}

/** What went wrong is the archive's or the container's fault, mostly; only a failing disk is ours. */
function writeError(container: LiveContainer, error: unknown): unknown {
  const { code, cause, message } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
  if (cause?.code === 'EROFS') {
    const what = container.record.hostConfig.ReadonlyRootfs ? 'container rootfs' : 'mounted volume';
    return invalid(`${what} is marked read-only`, { cause: error });
  }
  const theirs = ['INVALID_TAR', 'UNSAFE_ENTRY', 'LIMIT_EXCEEDED', 'ALREADY_EXISTS', 'UNSUPPORTED'];
  return theirs.includes(code ?? '') ? invalid(message, { cause: error }) : error;
}
