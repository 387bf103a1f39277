/** Which cgroup hierarchies this machine has, and where. */
import { readFileSync } from 'node:fs';

import { RuntimeError } from '../errors.ts';
import { parseMountInfo } from '../mounts.ts';
import type { MountPoint } from '../mounts.ts';
import { read } from './files.ts';

/** One mounted hierarchy. */
export interface Hierarchy {
  version: 1 | 2;
  /** Where it is mounted; everything we make is below. */
  mountPoint: string;
  /** Version 1: the controllers mounted together, or `name=systemd`. Version 2: those not taken by version 1. */
  controllers: readonly string[];
}

/** All of them. `hybrid`: the controllers are on version 1, and a version 2 hierarchy exists beside them. */
export interface CgroupLayout {
  kind: 'v1' | 'hybrid' | 'v2';
  /** The part of version 2 that is an ordinary user's: it has no more than reaches there. */
  delegated?: boolean;
  hierarchies: readonly Hierarchy[];
}

/** Options in the super block of a version 1 hierarchy that are not controllers. */
const NOT_CONTROLLERS = new Set([
  'rw',
  'ro',
  'xattr',
  'noprefix',
  'clone_children',
  'cpuset_v2_mode',
  'favordynmods',
]);

/**
 * The layout of this process's mount namespace.
 *
 * @throws {RuntimeError} `UNSUPPORTED` when no cgroup file system is mounted
 */
export function detectCgroups(): CgroupLayout {
  return layoutOf(parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')), (mountPoint) =>
    read(`${mountPoint}/cgroup.controllers`).trim().split(' ').filter(Boolean),
  );
}

/**
 * The layout that a mount table says. A hierarchy that is mounted several times counts once, where it was mounted first.
 *
 * @param unified the controllers of the version 2 hierarchy mounted at a path
 */
export function layoutOf(
  mounts: readonly MountPoint[],
  unified: (mountPoint: string) => readonly string[],
): CgroupLayout {
  const hierarchies: Hierarchy[] = [];
  const seen = new Set<string>();
  for (const mount of mounts) {
    if ((mount.type !== 'cgroup' && mount.type !== 'cgroup2') || seen.has(mount.device)) continue;
    seen.add(mount.device);
    if (mount.type === 'cgroup2') {
      hierarchies.push({ version: 2, mountPoint: mount.target, controllers: unified(mount.target) });
      continue;
    }
    const controllers = mount.superOptions.filter(
      (option) =>
        !NOT_CONTROLLERS.has(option) &&
        !option.startsWith('release_agent=') &&
        !option.startsWith('seclabel'),
    );
    // a named hierarchy only groups processes; systemd's decides what is killed with a service
    if (controllers.some((name) => !name.startsWith('name=') || name === 'name=systemd')) {
      hierarchies.push({ version: 1, mountPoint: mount.target, controllers });
    }
  }
  const versions = new Set(hierarchies.map((hierarchy) => hierarchy.version));
  if (versions.size === 0) {
    throw new RuntimeError(
      'UNSUPPORTED',
      'no cgroup file system is mounted; mount cgroup2 on /sys/fs/cgroup',
    );
  }
  return { kind: versions.size === 2 ? 'hybrid' : versions.has(2) ? 'v2' : 'v1', hierarchies };
}
