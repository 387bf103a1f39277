/** The bridge driver against the suite that every driver must pass, on the real kernel. */

import { removeNetworkNamespace } from '@tare/runtime-native/netlink';
import { it } from 'vitest';

import {
  createBridgeDriver,
  createIpvlanDriver,
  createMacvlanDriver,
  createNoFirewall,
  type BridgeDriverOptions,
  type BridgeNetworkConfig,
} from '../src/index.ts';
import { networkDriverSuite, type DriverHarness } from '../src/testing/index.ts';
import {
  describeInNamespace,
  kernelHasIpvlan,
  Lab,
  uniqueName,
  uniqueSubnet,
  uniqueSubnet6,
} from './lab/namespaces.ts';

async function harness(options: () => BridgeDriverOptions): Promise<DriverHarness<BridgeNetworkConfig>> {
  const lab = await Lab.open();
  const make = () => createBridgeDriver({ name, pools, ...options() });
  const name = uniqueName();
  const pools = [{ base: uniqueSubnet(), prefixLength: 26 }];
  let driver = make();
  return {
    get driver() {
      return driver;
    },
    subnets: [uniqueSubnet(), uniqueSubnet()],
    subnet6: uniqueSubnet6(),
    config: (common) => ({ bridgeName: uniqueName(), ...common }),
    sandbox: () => lab.sandbox(),
    removeSandbox: (path) => removeNetworkNamespace(path),
    async restart() {
      // all that the end of a process does: its sockets are closed
      await driver[Symbol.asyncDispose]();
      driver = make();
      return driver;
    },
    async [Symbol.asyncDispose]() {
      await driver.destroy();
      await lab[Symbol.asyncDispose]();
    },
  };
}

/** A driver whose networks have parents: each one a cable to a neighbour. */
async function vlanHarness(
  create: typeof createMacvlanDriver | typeof createIpvlanDriver,
): Promise<DriverHarness> {
  const lab = await Lab.open();
  const name = uniqueName();
  const pools = [{ base: uniqueSubnet(), prefixLength: 26 }];
  let driver = create({ name, pools });
  return {
    get driver() {
      return driver;
    },
    subnets: [uniqueSubnet(), uniqueSubnet()],
    subnet6: uniqueSubnet6(),
    // without a parent the network gets one of its own; such networks are internal unless they say otherwise
    config: (common) => ({ internal: false, ...common }),
    sandbox: () => lab.sandbox(),
    removeSandbox: (path) => removeNetworkNamespace(path),
    async restart() {
      await driver[Symbol.asyncDispose]();
      driver = create({ name, pools });
      return driver;
    },
    async [Symbol.asyncDispose]() {
      await driver.destroy();
      await lab[Symbol.asyncDispose]();
    },
  };
}

const describe = describeInNamespace;

networkDriverSuite({ describe, it }, 'the bridge driver', () => harness(() => ({})));
networkDriverSuite({ describe, it }, 'the bridge driver without a firewall', () =>
  harness(() => ({ firewall: createNoFirewall() })),
);
networkDriverSuite({ describe, it }, 'the macvlan driver', () => vlanHarness(createMacvlanDriver), {
  publishes: false,
});
if (kernelHasIpvlan()) {
  const traits = { publishes: false, ownMacAddresses: false };
  networkDriverSuite({ describe, it }, 'the ipvlan driver', () => vlanHarness(createIpvlanDriver), traits);
}
