/** One network of the bridge driver: what it is, and how its bridge comes to stand. */

import { formatAddress, formatRange, overlaps, parseCidr, type AddressRange } from './address-range.ts';
import { checkNetwork, type NetworkSettings } from './bridge-config.ts';
import type { BridgeLinks } from './bridge-links.ts';
import type { Endpoint, Network, NetworkConfig } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { FirewallNetwork } from './firewall.ts';
import { AddressAllocator, chooseSubnet, configured, type AddressPool } from './ipam.ts';
import type { InterfaceAddress } from './netlink/address.ts';
import { ROUTE_SCOPE } from './netlink/route.ts';
import type { HeldPorts } from './port-allocator.ts';
import { writeSysctl } from './sysctl.ts';

/** An endpoint with what is held for it. */
export interface Attachment {
  readonly endpoint: Endpoint;
  /** Without prefix length. */
  readonly address: string;
  /** Index of the host's end of the veth pair. */
  readonly hostIndex: number;
  readonly held: HeldPorts;
}

/** A network that stands. */
export interface BridgeNetwork {
  /** As asked for. */
  readonly config: NetworkConfig;
  readonly settings: NetworkSettings;
  readonly network: Network;
  readonly bridgeIndex: number;
  readonly addresses: AddressAllocator;
  readonly endpoints: Map<string, Attachment>;
  /** How many endpoints are being attached. */
  pending: number;
}

/** What a bridge's subnet and forwarding depend on beside its own configuration. */
export interface HostPolicy {
  readonly pools: readonly AddressPool[];
  readonly reserved: readonly AddressRange[];
  readonly ipForward: 'enable' | 'leave';
}

/**
 * Makes the bridge of a network, or takes over the one that stands. Leaves nothing behind when it fails.
 *
 * @param others the networks whose subnets are taken
 * @throws {NetworkError} `ADDRESS_OVERLAP`, `ALREADY_EXISTS`, `INVALID_CONFIG`, `POOL_EXHAUSTED`
 */
export async function openNetwork(
  config: NetworkConfig,
  links: BridgeLinks,
  policy: HostPolicy,
  others: Iterable<BridgeNetwork>,
): Promise<BridgeNetwork> {
  const settings = checkNetwork(config);
  const { id, bridgeName, mtu, internal } = settings;
  const [present, addresses] = await Promise.all([links.list(), links.addresses()]);
  const standing = present.find(({ name }) => name === bridgeName);
  if (standing && !links.carries(standing, id)) {
    throw new NetworkError(
      'ALREADY_EXISTS',
      `network ${id} cannot be made: interface ${bridgeName} exists and is not its bridge; choose another bridge name`,
    );
  }
  const standingAddress = standing && addresses.find(({ linkIndex }) => linkIndex === standing.index);
  const asked = askedSubnet(config) ?? (standingAddress && parseCidr(withPrefix(standingAddress)).range);
  const subnet = asked ?? (await freeSubnet(links, policy, others));
  if (asked) await checkOverlap(id, asked, links, others, standing?.index);

  const allocator = new AddressAllocator({ subnet, gateway: config.gateway, ipRange: config.ipRange });
  const gateway = formatAddress(subnet.family, allocator.gateway);
  const { prefixLength } = subnet;
  if (standingAddress && withPrefix(standingAddress) !== `${gateway}/${prefixLength}`) {
    throw new NetworkError(
      'ALREADY_EXISTS',
      `network ${id} cannot be made: its bridge ${bridgeName} stands with address ${withPrefix(standingAddress)}; remove it first`,
    );
  }
  if (policy.ipForward === 'enable') writeSysctl('net/ipv4/ip_forward', '1');
  const bridge = { networkId: id, bridgeName, address: gateway, prefixLength, mtu };
  const bridgeIndex = await (standing ? links.repairBridge(bridge) : links.createBridge(bridge));
  return {
    config,
    settings,
    network: { id, bridgeName, subnet: formatRange(subnet), gateway, mtu, internal },
    bridgeIndex,
    addresses: allocator,
    endpoints: new Map(),
    pending: 0,
  };
}

/** Whether two configurations ask for the same network. */
export function sameConfig(a: NetworkConfig, b: NetworkConfig): boolean {
  const settings = (config: NetworkConfig) =>
    JSON.stringify([checkNetwork(config), config.subnet, config.gateway, config.ipRange]);
  return settings(a) === settings(b);
}

/** What the packet filter must know of a network. */
export function firewallNetwork({ bridgeName, internal, icc, masquerade }: NetworkSettings): FirewallNetwork {
  return { bridgeName, internal, icc, masquerade };
}

function askedSubnet({ id, subnet }: NetworkConfig): AddressRange | undefined {
  if (!subnet) return undefined;
  const { range } = configured(`subnet of network ${id}`, () => parseCidr(subnet));
  if (range.family !== 4) {
    throw new NetworkError('INVALID_CONFIG', `subnet ${subnet} of network ${id} is not an IPv4 subnet`);
  }
  return range;
}

async function freeSubnet(
  links: BridgeLinks,
  { pools, reserved }: HostPolicy,
  others: Iterable<BridgeNetwork>,
): Promise<AddressRange> {
  const routed = (await links.routes()).flatMap(({ destination }) =>
    destination ? parseCidr(withPrefix(destination)).range : [],
  );
  const networks = Array.from(others, ({ addresses }) => addresses.subnet);
  return chooseSubnet(pools, [...routed, ...reserved, ...networks]);
}

/** A subnet that was asked for may lie inside of a routed one, but not be on another interface already. */
async function checkOverlap(
  id: string,
  subnet: AddressRange,
  links: BridgeLinks,
  others: Iterable<BridgeNetwork>,
  ownIndex: number | undefined,
): Promise<void> {
  const refuse = (taken: string) =>
    new NetworkError(
      'ADDRESS_OVERLAP',
      `subnet ${formatRange(subnet)} of network ${id} overlaps ${taken}; choose another`,
    );
  for (const { network, addresses } of others) {
    if (overlaps(addresses.subnet, subnet)) throw refuse(`${network.subnet} of network ${network.id}`);
  }
  for (const { destination, scope, linkIndex } of await links.routes()) {
    if (!destination || scope !== ROUTE_SCOPE.LINK || linkIndex === ownIndex) continue;
    const route = withPrefix(destination);
    if (overlaps(parseCidr(route).range, subnet))
      throw refuse(`${route}, which an interface of this host is on`);
  }
}

function withPrefix({ address, prefixLength }: Pick<InterfaceAddress, 'address' | 'prefixLength'>): string {
  return `${address}/${prefixLength}`;
}
