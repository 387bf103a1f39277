/** Fits the packages to the engine's seams: each of these is a change of names, nothing more. */
import { closeSync, constants, openSync } from 'node:fs';
import { bringUpLoopback } from '@tare/netdriver';
import {
  AT_FDCWD,
  createNetworkNamespace,
  defaultSeccompProfile,
  parseSeccompProfile,
  removeNetworkNamespace,
  RESOLVE,
  type LayerSyscalls,
} from '@tare/runtime-native';
import type { RootSyscalls } from './containers/root-files.ts';
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
