/** The root file system of a plan: a directory, a bind mount or an overlay, with the ids that it has on the disk or others. */
import { posix } from 'node:path';

import type { Spec } from '../spec/config.ts';
import type { PlanContext } from './context.ts';
import { hooksBeforePivot } from './hooks.ts';
import { parseMountOptions } from './mount-options.ts';
import { idMapsOf, refuse } from './mount-plan.ts';
import type { MountPlan } from './mount-plan.ts';
import { hostId } from './namespaces.ts';
import type { UserNamespace } from './namespaces.ts';
import { cannot, invalid } from './validate.ts';

/** `lowerdir` separates layers by colons; a backslash makes the next character ordinary. */
function splitLayers(value: string): string[] {
  const layers: string[] = [''];
  for (let i = 0; i < value.length; i++) {
    const character = value[i]!;
    if (character === ':') layers.push('');
    else layers[layers.length - 1] += character === '\\' ? (value[++i] ?? '') : character;
  }
  return layers.filter((layer) => layer !== '');
}

/** The root file system: the caller's mounts, or the directory that the spec names. */
export function planRoot(
  plan: MountPlan,
  spec: Spec,
  user: UserNamespace | undefined,
  context: PlanContext,
): void {
  const { rootfs } = context;
  if (!rootfs) {
    const path = spec.root?.path;
    if (!path?.startsWith('/')) {
      throw invalid('root.path', 'must be an absolute path when no rootfs mounts are given');
    }
    // hooks that enter the mount namespace look for the root where the spec says
    const place = hooksBeforePivot(spec) && !user ? path : '/';
    plan.add(['ROOT_TREE', plan.tree(path, true), 0n, place]);
    return;
  }
  const [mount] = rootfs;
  if (!mount || rootfs.length > 1)
    throw invalid('rootfs', `must be one mount, and there are ${rootfs.length}`);
  const options = parseMountOptions(mount.options, mount.type);
  refuse(options, 'rootfs');
  const maps = options.idmap && idMapsOf({}, spec, 'rootfs');
  if (maps && user && !user.privileged) {
    throw cannot(
      'rootfs',
      'idmap is for root: who is not one can only use what has the right owners already',
    );
  }
  if (options.bind) {
    const tree = plan.tree(mount.source, options.bind.recursive);
    if (maps) plan.mapTree(tree, maps, options.idmap!.recursive, '/');
    plan.add(['ROOT_TREE', tree, options.set | options.setAll, '/']);
  } else if (mount.type === 'overlay') {
    const isLower = (option: string): boolean => option.startsWith('lowerdir=');
    const layers = options.data
      .filter(isLower)
      .flatMap((option) => splitLayers(option.slice('lowerdir='.length)));
    if (layers.length === 0) throw invalid('rootfs', 'an overlay needs a lowerdir');
    const rest = options.data.filter((option) => !isLower(option));
    if (!maps && !user?.privileged) return plan.add(['ROOT_OVERLAY', layers, rest, options.set]);
    if (!user) throw invalid('rootfs', 'idmap of an overlay needs a user namespace');
    const ids = maps ? plan.idMap(maps) + 1 : 0;
    const base = commonDirectory(rest);
    const owner = maps ? [user.uids, user.gids].map((map) => hostId(map, 0) ?? map[0]!.hostID) : [];
    const [uid = 0, gid = 0] = owner;
    const tree = plan.make((at) => ['OVERLAY_TREE', at, layers, rest, options.set, base, ids, uid, gid]);
    plan.add(['ROOT_TREE', tree, 0n, '/']);
  } else {
    throw invalid('rootfs', `must be of type overlay or bind, not ${JSON.stringify(mount.type)}`);
  }
}

/** The directory that holds upperdir and workdir, which have to be on one mount. */
function commonDirectory(options: readonly string[]): string {
  const paths = options.flatMap((option) => /^(?:upperdir|workdir)=(.*)$/.exec(option)?.[1] ?? []);
  if (paths.length === 0) return '';
  const [first = [], ...others] = paths.map((path) => posix.dirname(posix.normalize(path)).split('/'));
  let length = first.length;
  for (const other of others) {
    const differs = first.findIndex((part, i) => part !== other[i]);
    if (differs >= 0) length = Math.min(length, differs);
  }
  return first.slice(0, length).join('/') || '/';
}
