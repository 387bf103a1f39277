/** Fits the packages to the engine's seams: each of these is a change of names, nothing more. */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs';
import { posix } from 'node:path';
import { extractTar, packTree } from '@tare/layer-store';
import { bringUpLoopback } from '@tare/netdriver';
import {
  AT_FDCWD,
  createNetworkNamespace,
  defaultSeccompProfile,
  openMount,
  parseSeccompProfile,
  removeNetworkNamespace,
  RESOLVE,
  type LayerSyscalls,
} from '@tare/runtime-native';
import type { RootSyscalls } from './containers/root-files.ts';
import type { Trees } from './containers/trees.ts';
import type { Sandboxes, SeccompProfiles } from './containers/world.ts';

/** Network namespaces bound to files. */
export const nativeSandboxes: Sandboxes = {
  create: createNetworkNamespace,
  bringUpLoopback,
  remove: removeNetworkNamespace,
};

/** System-call filters of the runtime's own making. */
export const nativeSeccomp: SeccompProfiles = {
  standard: (capabilities) => defaultSeccompProfile({ capabilities }),
  parse: (profile, capabilities) => parseSeccompProfile(profile, { capabilities }),
};

/** From `<fcntl.h>`; node:fs does not name it. */
const O_PATH = 0o10000000;

/** Attributes that mark a directory as hiding what is below it: as root, and in a user namespace. */
const OPAQUE_ATTRIBUTES = ['trusted.overlay.opaque', 'user.overlay.opaque'];

/** Reading inside a container's root without ever leaving it. */
export function nativeRootSyscalls(fs: LayerSyscalls): RootSyscalls {
  return {
    openInRoot(root, path) {
      const directory = openSync(root, O_PATH | constants.O_DIRECTORY);
      try {
        // a fifo planted in the root must not block the engine
        const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
        return fs.openat2(directory, path, { flags, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
      } finally {
        closeSync(directory);
      }
    },
    isOpaque: (directory) =>
      OPAQUE_ATTRIBUTES.some((name) => {
        const value = fs.getxattrat(AT_FDCWD, directory, name);
        return value !== undefined && Buffer.from(value).toString('latin1') === 'y';
      }),
  };
}

/** Archives of files below a root. Whatever is in the root, nothing leads out of it. */
export function nativeTrees(fs: LayerSyscalls): Trees {
  const openIn = (root: string, path: string, flags: number): number => {
    const directory = openSync(root, O_PATH | constants.O_DIRECTORY);
    try {
      return fs.openat2(directory, path, { flags, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
    } finally {
      closeSync(directory);
    }
  };
  const stat: Trees['stat'] = (root, path) => {
    const file = openIn(root, path, O_PATH | constants.O_NOFOLLOW);
    try {
      const found = fstatSync(file, { bigint: true });
      const { mtimeNs } = found;
      const known = { mode: Number(found.mode), size: Number(found.size), mtimeNs };
      if (!found.isSymbolicLink()) return known;
      const parent = openIn(root, posix.dirname(path), O_PATH | constants.O_DIRECTORY);
      try {
        return { ...known, linkName: readlinkSync(`/proc/self/fd/${parent}/${posix.basename(path)}`) };
      } finally {
        closeSync(parent);
      }
    } finally {
      closeSync(file);
    }
  };
  return {
    stat,
    async *pack(root, path, as, options) {
      const isDirectory = (stat(root, path).mode & constants.S_IFMT) === constants.S_IFDIR;
      const place = isDirectory ? path : posix.dirname(path);
      const directory = openIn(root, place, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        const names = isDirectory ? {} : { name: bytes(posix.basename(path)) };
        yield* packTree(directory, { ...options, ...names, fs, as: bytes(as) });
      } finally {
        closeSync(directory);
      }
    },
    async extract(archive, root, path, { owner, sameKind, signal }) {
      // the path of a root may itself be a link, of /proc
      await extractTar(archive, `${root}/.`, {
        fs,
        base: bytes(path),
        owner,
        replace: sameKind ? 'same-kind' : 'any',
        signal,
      });
    },
    open(mounts) {
      const [mount, ...more] = mounts;
      if (!mount || more.length > 0) throw new Error('a snapshot of several mounts cannot be opened');
      const root = openMount(mount);
      return { path: `/proc/self/fd/${root}`, [Symbol.dispose]: () => closeSync(root) };
    },
  };
}

/** A name as archives have it: one character per byte. */
function bytes(name: string): string {
  return Buffer.from(name, 'utf8').toString('latin1');
}
