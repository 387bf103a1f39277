/** Makes, opens and sweeps the cgroups of this machine. */
import type { Cgroup } from './cgroup.ts';
import { HostCgroup } from './host-cgroup.ts';
import { detectCgroups } from './layout.ts';
import type { CgroupLayout } from './layout.ts';
import { foldersOf, removeEmpty } from './tree.ts';

let cachedLayout: CgroupLayout | undefined;

/** Options of {@link createCgroup} and {@link openCgroup}. */
export interface CgroupOptions {
  /** Default: this machine's, looked at once a process. */
  layout?: CgroupLayout;
}

/**
 * Makes the cgroup in every hierarchy, with the ones above it where they are missing.
 *
 * @param path absolute, below the hierarchies' roots, for example `/tare/abc`
 * @throws {RuntimeError} `INVALID_SPEC` for a path that leaves the root, `ALREADY_EXISTS` when processes live there,
 *   `CGROUP_FAILED`; nothing is left behind
 */
export function createCgroup(path: string, options: CgroupOptions = {}): Cgroup {
  const cgroup = new HostCgroup(path, layoutFor(options));
  cgroup.create();
  return cgroup;
}

/** The object for a cgroup that was made before; does not look whether it is there. */
export function openCgroup(path: string, options: CgroupOptions = {}): Cgroup {
  return new HostCgroup(path, layoutFor(options));
}

/**
 * Removes the cgroups below `path`, and itself, that hold no process: after a crash, or at the end of an engine that owns
 * the path.
 *
 * @param options.below false removes nothing but itself, and that only when nothing is below: where others share the
 *   path, what holds no process may be about to. Default true.
 */
export function sweepCgroups(path: string, options: CgroupOptions & { below?: boolean } = {}): void {
  const { below = true } = options;
  for (const { folder } of foldersOf(path, layoutFor(options))) removeEmpty(folder, { below });
}

function layoutFor(options: CgroupOptions): CgroupLayout {
  return options.layout ?? (cachedLayout ??= detectCgroups());
}
