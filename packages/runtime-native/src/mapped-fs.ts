/** File-system calls in the root of a container with a user namespace of its own. */
import { load } from '#binding';
import { hostId } from './plan/namespaces.ts';
import type { LayerSyscalls } from './syscalls.ts';
import { layerFs } from './syscalls.ts';
import type { UserNamespaceMaps } from './user-namespace.ts';

/**
 * {@link layerFs} as root of a user namespace: files can be made in file systems that know only its ids, where those of
 * this process mean nobody (`EOVERFLOW`). What is made belongs to that root; `fchownat` takes ids of the host, as ever.
 * Needs root. The calls leave no trace in the thread.
 *
 * @throws {RangeError} when the namespace has no root
 */
export function mappedLayerFs(maps: UserNamespaceMaps): Omit<LayerSyscalls, 'createFile' | 'fileQueue'> {
  const uid = hostId(maps.uidMappings, 0);
  const gid = hostId(maps.gidMappings, 0);
  if (uid === undefined || gid === undefined) throw new RangeError('a user namespace without a root');
  const asRoot = <Arguments extends unknown[], Result>(call: (...args: Arguments) => Result) => {
    return (...args: Arguments): Result => {
      load().setFsIds(uid, gid);
      try {
        return call(...args);
      } finally {
        load().setFsIds(process.geteuid!(), process.getegid!());
      }
    };
  };
  // they would make a file and give it away in one call, as two different callers
  const { createFile: _, fileQueue: __, ...calls } = layerFs;
  return {
    ...calls,
    // whatever makes an entry in a directory; the kernel looks at the caller's ids before anything else
    openat2: asRoot(layerFs.openat2),
    mkdirat: asRoot(layerFs.mkdirat),
    mknodat: asRoot(layerFs.mknodat),
    symlinkat: asRoot(layerFs.symlinkat),
    linkat: asRoot(layerFs.linkat),
  };
}
