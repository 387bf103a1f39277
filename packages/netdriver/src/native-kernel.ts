/** The real kernel, by way of `@tare/runtime-native`. */

import {
  openNetlink,
  openNetworkNamespace,
  openSocket,
  reservePort,
  writeSysctls,
} from '@tare/runtime-native/netlink';

import type { NetworkKernel } from './kernel.ts';

/** The kernel of this machine. Loads native code at its first call, not before, so that importing works anywhere. */
export function nativeKernel(): NetworkKernel {
  return {
    openNetlink,
    openNetlinkEvents: openNetlink,
    openNetworkNamespace,
    openSocket,
    reservePort,
    // a kernel without IPv6 has no settings for it
    writeSysctls: (netns, settings) => writeSysctls(netns, settings, { ignoreMissing: true }),
  };
}
