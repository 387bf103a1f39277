/** One network of the bridge driver: what it is, and how its bridge comes to stand. */

import type { AddressBook } from './address-book.ts';
import { parseCidr } from './address-range.ts';
import type { AddressSpace } from './address-space.ts';
import { checkNetwork, type BridgeNetworkConfig, type NetworkSettings } from './bridge-config.ts';
import type { BridgeLinks } from './bridge-links.ts';
import type { Endpoint, Network } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { FirewallFamily, FirewallNetwork } from './firewall.ts';
import type { AddressPool } from './ipam.ts';
import type { Link } from './netlink/link.ts';
import type { TableNetwork } from './network-table.ts';
import type { HeldPorts } from './port-allocator.ts';
import { planSubnets, subnetRanges, type SubnetPolicy } from './subnet-plan.ts';
import { enableForwarding, filtersBridgedPackets } from './sysctl.ts';

/** An endpoint with what is held for it. */
export interface Attachment {
  endpoint: Endpoint;
  readonly sandbox: string;
  /** Index of the host's end of the veth pair. */
  readonly hostIndex: number;
  readonly held: HeldPorts;
}

/** A network that stands. */
export interface BridgeNetwork extends TableNetwork<Attachment, BridgeNetworkConfig> {
  readonly settings: NetworkSettings;
  readonly bridgeIndex: number;
  readonly addresses4: AddressSpace | undefined;
  readonly addresses6: AddressSpace | undefined;
  /** Addresses that earlier endpoints had; undefined when nobody knows which, since the bridge stood before. */
  readonly former: Set<string> | undefined;
}

/** What a bridge's subnets and forwarding depend on beside its own configuration. */
export interface HostPolicy extends SubnetPolicy {
  readonly pools: readonly AddressPool[];
  readonly ipForward: 'enable' | 'leave';
  readonly book: AddressBook | undefined;
}

/**
 * Makes the bridge of a network, or takes over the one that stands. Leaves nothing behind when it fails.
 *
 * @param others the networks whose subnets are taken
 * @throws {NetworkError} `ADDRESS_OVERLAP`, `ALREADY_EXISTS`, `INVALID_CONFIG`, `POOL_EXHAUSTED`
 */
export async function openNetwork(
  config: BridgeNetworkConfig,
  links: BridgeLinks,
  policy: HostPolicy,
  others: Iterable<BridgeNetwork>,
): Promise<BridgeNetwork> {
  const settings = checkNetwork(config);
  const { id, bridgeName, mtu, internal } = settings;
  const [present, addresses] = await Promise.all([links.list(), links.addresses()]);
  const standing = present.find(({ name }) => name === bridgeName);
  const foreign = standing !== undefined && !links.carries(standing, id);
  if (foreign) checkForeign(id, standing, links);
  // a bridge that an earlier process made tells which subnets it chose; so does one of somebody else's
  const found = addresses
    .filter(({ linkIndex, address }) => linkIndex === standing?.index && !address.startsWith('fe80:'))
    .map(({ address, prefixLength }) => `${address}/${prefixLength}`);
  const plan = await planSubnets({ ...config, ...families(settings) }, links, policy, {
    others: Array.from(others, ({ network }) => network),
    standing: found,
    standingIndex: standing?.index,
    gatewayless: (family) => (family === 4 ? settings.gatewayMode4 : settings.gatewayMode6) === 'isolated',
  });
  const own = plan.subnets.flatMap(({ subnet, gateway }) => {
    const prefixLength = parseCidr(subnet).range.prefixLength;
    const inhibited = settings.inhibitIpv4 && !subnet.includes(':');
    return gateway === undefined || inhibited ? [] : [{ address: gateway, prefixLength }];
  });
  if (!foreign) {
    const stray = found.find(
      (text) => !own.some(({ address, prefixLength }) => text === `${address}/${prefixLength}`),
    );
    if (stray !== undefined) {
      throw new NetworkError(
        'ALREADY_EXISTS',
        `network ${id} cannot be made: its bridge ${bridgeName} stands with address ${stray}; remove it first`,
      );
    }
  }
  claim(id, plan.subnets, policy.book);
  if (policy.ipForward === 'enable') enableForwarding(settings);
  const bridge = {
    networkId: id,
    bridgeName,
    addresses: own,
    mtu,
    ipv6: settings.ipv6,
    loopback6: settings.ipv6 && !filtersBridgedPackets(6),
    foreign,
  };
  const bridgeIndex = await (standing ? links.repairBridge(bridge) : links.createBridge(bridge));
  return {
    config,
    settings,
    network: { id, linkName: bridgeName, subnets: plan.subnets, mtu, internal },
    bridgeIndex,
    addresses4: plan.addresses4,
    addresses6: plan.addresses6,
    former: standing || policy.book ? undefined : new Set(),
    endpoints: new Map(),
    pending: 0,
  };
}

/** Whether two configurations ask for the same network. */
export function sameConfig(a: BridgeNetworkConfig, b: BridgeNetworkConfig): boolean {
  const settings = (config: BridgeNetworkConfig) =>
    JSON.stringify([checkNetwork(config), config.subnets ?? []]);
  return settings(a) === settings(b);
}

/** What the packet filter must know of a network. */
export function firewallNetwork({ settings, network }: BridgeNetwork): FirewallNetwork {
  const { bridgeName, internal, icc, masquerade, trustedInterfaces } = settings;
  const family = (mode: FirewallFamily['mode'], sourceAddress: string | undefined, is6: boolean) => ({
    mode,
    masquerade: masquerade && mode !== 'routed' && mode !== 'isolated',
    sourceAddress,
    gateways: network.subnets.flatMap(({ gateway }) => (gateway?.includes(':') === is6 ? gateway : [])),
  });
  return {
    bridgeName,
    internal,
    icc,
    trustedInterfaces,
    ipv4: settings.ipv4 ? family(settings.gatewayMode4, settings.sourceAddress4, false) : undefined,
    ipv6: settings.ipv6 ? family(settings.gatewayMode6, settings.sourceAddress6, true) : undefined,
  };
}

function families({ ipv4, ipv6 }: NetworkSettings): { ipv4: boolean; ipv6: boolean } {
  return { ipv4, ipv6 };
}

function checkForeign(id: string, link: Link, links: BridgeLinks): void {
  if (link.kind === 'bridge' && !links.isClaimed(link)) return;
  throw new NetworkError(
    'ALREADY_EXISTS',
    `network ${id} cannot be made: interface ${link.name} exists and ${link.kind === 'bridge' ? 'carries another network' : 'is no bridge'}; choose another bridge name`,
  );
}

function claim(id: string, subnets: Network['subnets'], book: AddressBook | undefined): void {
  const taken = book?.claim(id, subnetRanges(subnets));
  if (!taken) return;
  throw new NetworkError(
    'ADDRESS_OVERLAP',
    `${subnets.map(({ subnet }) => subnet).join(', ')} of network ${id} overlaps ${taken.subnet} of network ${taken.networkId}; choose another`,
  );
}
