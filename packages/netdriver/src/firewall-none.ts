/** No packet filter at all, for hosts where somebody else sees to it. Ports are not published, nothing is isolated. */

import type { Firewall } from './firewall.ts';

/** Makes a firewall that lets everything be as it is. */
export function createNoFirewall(): Firewall {
  const nothing = () => Promise.resolve();
  return {
    addNetwork: nothing,
    removeNetwork: nothing,
    addEndpoint: nothing,
    removeEndpoint: nothing,
    changePorts: nothing,
    replace: nothing,
    destroy: nothing,
    close: () => undefined,
  };
}
