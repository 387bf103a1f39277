/** The part of the version 2 hierarchy that this user may divide without being root, as systemd delegates it. */
import { accessSync, constants, readFileSync } from 'node:fs';

import { read } from './files.ts';
import type { CgroupLayout } from './layout.ts';

/** A cgroup that is somebody's own. */
export interface DelegatedCgroup {
  /** Below the root of the hierarchy. */
  path: string;
  /** The one hierarchy, with the controllers that reach down to the cgroup. */
  layout: CgroupLayout;
}

function mayDivide(folder: string): boolean {
  try {
    for (const file of ['', '/cgroup.procs', '/cgroup.subtree_control']) {
      accessSync(folder + file, constants.W_OK);
    }
    return true;
  } catch {
    // not ours
    return false;
  }
}

/**
 * The highest cgroup above this process that belongs to its user; undefined when none does. Processes can only be moved,
 * or born, within it.
 */
export function delegatedCgroup(layout: CgroupLayout): DelegatedCgroup | undefined {
  const hierarchy = layout.hierarchies.find(({ version }) => version === 2);
  const own = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  if (!hierarchy || own === undefined) return undefined;
  const { mountPoint } = hierarchy;
  let found: string | undefined;
  for (let at = own; at.length > 1; at = at.slice(0, at.lastIndexOf('/'))) {
    if (mayDivide(mountPoint + at)) found = at;
  }
  if (found === undefined) return undefined;
  const controllers = read(`${mountPoint}${found}/cgroup.controllers`).trim().split(' ').filter(Boolean);
  return {
    path: found,
    layout: { kind: 'v2', delegated: true, hierarchies: [{ version: 2, mountPoint, controllers }] },
  };
}
