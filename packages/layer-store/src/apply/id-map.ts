/** Owners inside of a container and on the host, where the two differ. */
import { LayerStoreError } from '../errors.ts';

/** Ids that belong together, as in the OCI runtime specification and in `/etc/subuid`. */
export interface IdRange {
  containerID: number;
  hostID: number;
  size: number;
}

/** How the owners of a layer's files become those on the host. */
export interface IdMap {
  uids: readonly IdRange[];
  gids: readonly IdRange[];
}

/** An owner. */
export interface Owner {
  uid: number;
  gid: number;
}

/** @throws {LayerStoreError} `UNSUPPORTED` for an id that no range holds */
export function toHost({ uids, gids }: IdMap, { uid, gid }: Owner): Owner {
  return {
    uid: shift(uids, uid, 'containerID', 'hostID', 'uid'),
    gid: shift(gids, gid, 'containerID', 'hostID', 'gid'),
  };
}

/** @throws {LayerStoreError} `UNSUPPORTED` for an id that no range holds */
export function toContainer({ uids, gids }: IdMap, { uid, gid }: Owner): Owner {
  return {
    uid: shift(uids, uid, 'hostID', 'containerID', 'uid'),
    gid: shift(gids, gid, 'hostID', 'containerID', 'gid'),
  };
}

function shift(
  ranges: readonly IdRange[],
  id: number,
  from: 'containerID' | 'hostID',
  to: 'containerID' | 'hostID',
  what: 'uid' | 'gid',
): number {
  const range = ranges.find((one) => id >= one[from] && id < one[from] + one.size);
  if (range !== undefined) return id - range[from] + range[to];
  const side = from === 'containerID' ? 'the image' : 'the host';
  throw new LayerStoreError('UNSUPPORTED', `${what} ${id} of ${side} is in none of the mapped ranges`);
}
