/**
 * The macvlan and ipvlan drivers: endpoints are on the wire of an interface of the host, beside the host and not behind
 * it. No packet filter of the host sees them, nothing is published, and the host itself cannot reach them.
 */

import type { NetworkDriver } from './driver.ts';
import { NetworkError } from './errors.ts';
import { createIpvlan, createMacvlan, IPVLAN_FLAG, IPVLAN_MODE, MACVLAN_MODE } from './netlink/link.ts';
import { VlanDriver, type VlanDriverOptions, type VlanNetworkConfig } from './vlan-driver.ts';

export type { VlanDriverOptions } from './vlan-driver.ts';

/** A macvlan network to create. */
export interface MacvlanNetworkConfig extends VlanNetworkConfig {
  /** Default `bridge`: endpoints talk to each other without leaving the host. */
  mode?: keyof typeof MACVLAN_MODE;
}

/** An ipvlan network to create. */
export interface IpvlanNetworkConfig extends VlanNetworkConfig {
  /** Default `l2`. With `l3` and `l3s` the endpoints are routed to: they have no gateway and hear no broadcasts. */
  mode?: keyof typeof IPVLAN_MODE;
  /** Whom endpoints of one parent talk to; default `bridge`. */
  flag?: keyof typeof IPVLAN_FLAG;
}

/** Makes a driver of macvlan networks. It touches nothing before its first call. */
export function createMacvlanDriver(
  options: VlanDriverOptions = {},
): NetworkDriver<MacvlanNetworkConfig> & AsyncDisposable {
  return new VlanDriver<MacvlanNetworkConfig>('macvlan', options, {
    check: ({ id, mode = 'bridge' }) => oneOf(id, 'macvlan mode', mode, MACVLAN_MODE),
    link: ({ mode = 'bridge' }, link) => createMacvlan({ ...link, mode }),
    routed: () => false,
  });
}

/** Makes a driver of ipvlan networks. It touches nothing before its first call. */
export function createIpvlanDriver(
  options: VlanDriverOptions = {},
): NetworkDriver<IpvlanNetworkConfig> & AsyncDisposable {
  return new VlanDriver<IpvlanNetworkConfig>('ipvlan', options, {
    check({ id, mode = 'l2', flag = 'bridge' }) {
      oneOf(id, 'ipvlan mode', mode, IPVLAN_MODE);
      oneOf(id, 'ipvlan flag', flag, IPVLAN_FLAG);
    },
    link: ({ mode = 'l2', flag = 'bridge' }, link) => createIpvlan({ ...link, mode, flag }),
    routed: ({ mode = 'l2' }) => mode !== 'l2',
  });
}

function oneOf(id: string, what: string, value: string, known: object): void {
  if (Object.hasOwn(known, value)) return;
  throw new NetworkError(
    'INVALID_CONFIG',
    `${what} "${value}" of network ${id} is none of ${Object.keys(known).join(', ')}`,
  );
}
