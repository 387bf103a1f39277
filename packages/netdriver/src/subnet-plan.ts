/** Which subnets a network gets: those it names, those its standing link has, or free ones; and their addresses. */

import type { AddressBook } from './address-book.ts';
import {
  formatAddress,
  formatRange,
  overlaps,
  parseAddress,
  parseCidr,
  type AddressRange,
} from './address-range.ts';
import { AddressSpace, type SpaceSubnet } from './address-space.ts';
import type { Network, NetworkConfig, Subnet, SubnetConfig } from './driver.ts';
import { NetworkError } from './errors.ts';
import { AddressAllocator, chooseSubnet, configured, type AddressPool } from './ipam.ts';
import { ROUTE_SCOPE, ROUTE_TYPE, type Route } from './netlink/route.ts';

/** Where subnets come from and what they must stay clear of. */
export interface SubnetPolicy {
  readonly pools: readonly AddressPool[];
  readonly reserved: readonly AddressRange[];
  readonly book: AddressBook | undefined;
}

/** What is there already. */
export interface SubnetSurroundings {
  /** Other networks of the driver. */
  others: readonly Network[];
  /** Addresses with prefix length of the link that carries the network already. */
  standing: readonly string[];
  standingIndex: number | undefined;
  /** Whether the network has no address of its own in a family. */
  gatewayless(family: 4 | 6): boolean;
}

/** The subnets of a network with the addresses in them. */
export interface SubnetPlan {
  subnets: Subnet[];
  addresses4: AddressSpace | undefined;
  addresses6: AddressSpace | undefined;
}

/** @throws {NetworkError} `ADDRESS_OVERLAP`, `INVALID_CONFIG`, `POOL_EXHAUSTED` */
export async function planSubnets(
  config: NetworkConfig & { ipv4: boolean; ipv6: boolean },
  host: { routes(): Promise<Route[]> },
  policy: SubnetPolicy,
  surroundings: SubnetSurroundings,
): Promise<SubnetPlan> {
  const { id } = config;
  const routes = await host.routes();
  const chosen: { range: AddressRange; config: Omit<SubnetConfig, 'subnet'> }[] = [];
  const taken = (): AddressRange[] => [
    ...routes.flatMap(({ destination }) => (destination ? parseCidr(withPrefix(destination)).range : [])),
    ...policy.reserved,
    ...surroundings.others.flatMap(({ subnets }) => subnetRanges(subnets)),
    ...(policy.book?.subnets() ?? []).flatMap(({ networkId, subnet }) =>
      networkId === id ? [] : parseCidr(subnet).range,
    ),
    ...chosen.map(({ range }) => range),
  ];
  const choose = (family: 4 | 6, prefixLength?: number): AddressRange =>
    chooseSubnet(policy.pools, taken(), family, prefixLength);

  for (const { subnet, ...rest } of config.subnets ?? []) {
    const { address, range } = configured(`subnet of network ${id}`, () => parseCidr(subnet));
    const { family, prefixLength } = range;
    if (!(family === 4 ? config.ipv4 : config.ipv6)) {
      throw new NetworkError('INVALID_CONFIG', `network ${id} has no IPv${family} for its subnet ${subnet}`);
    }
    if (address === 0n && prefixLength > 0) {
      chosen.push({ range: choose(family, prefixLength), config: rest });
      continue;
    }
    for (const other of chosen) {
      if (overlaps(other.range, range))
        throw overlap(id, range, `${formatRange(other.range)} of the same network`);
    }
    checkOverlap(id, range, routes, surroundings);
    chosen.push({ range, config: rest });
  }
  for (const family of [4, 6] as const) {
    if (!(family === 4 ? config.ipv4 : config.ipv6)) continue;
    if (chosen.some(({ range }) => range.family === family)) continue;
    const standing = surroundings.standing.map((text) => ({ text, ...parseCidr(text) }));
    const found = standing.find(({ range }) => range.family === family);
    if (found) {
      chosen.push({ range: found.range, config: { gateway: formatAddress(family, found.address) } });
    } else {
      chosen.push({ range: choose(family), config: {} });
    }
  }
  return allocators(id, chosen, policy, surroundings);
}

function allocators(
  id: string,
  chosen: readonly { range: AddressRange; config: Omit<SubnetConfig, 'subnet'> }[],
  { book }: SubnetPolicy,
  { gatewayless }: SubnetSurroundings,
): SubnetPlan {
  const subnets: Subnet[] = [];
  const spaces: Record<4 | 6, SpaceSubnet[]> = { 4: [], 6: [] };
  for (const { range, config } of chosen) {
    const { gateway, ipRange, reserved = [], router } = config;
    const { family } = range;
    if (router !== undefined) {
      const { value } = configured(`router of network ${id}`, () => parseAddress(router));
      if (value < range.first || value > range.last) {
        throw new NetworkError(
          'INVALID_CONFIG',
          `router ${router} is not an address of subnet ${formatRange(range)}`,
        );
      }
    }
    const allocator = new AddressAllocator({
      subnet: range,
      gateway: gatewayless(family) ? null : gateway,
      ipRange,
      reserved: router === undefined ? reserved : [...reserved, router],
      book: book && { book, networkId: id },
    });
    spaces[family].push({ allocator, router });
    const own = allocator.gateway === undefined ? {} : { gateway: formatAddress(family, allocator.gateway) };
    // in a fixed order: records are compared as text
    subnets.push({
      subnet: formatRange(range),
      ...own,
      ...(ipRange === undefined ? {} : { ipRange }),
      ...(reserved.length > 0 ? { reserved } : {}),
      ...(router === undefined ? {} : { router }),
    });
  }
  const space = (list: SpaceSubnet[]) => (list.length > 0 ? new AddressSpace(list) : undefined);
  return { subnets, addresses4: space(spaces[4]), addresses6: space(spaces[6]) };
}

/** A subnet that was asked for may lie inside of a routed one, but not be on another interface already. */
function checkOverlap(
  id: string,
  subnet: AddressRange,
  routes: readonly Route[],
  { others, standingIndex }: SubnetSurroundings,
): void {
  for (const other of others) {
    for (const range of subnetRanges(other.subnets)) {
      if (overlaps(range, subnet)) throw overlap(id, subnet, `${formatRange(range)} of network ${other.id}`);
    }
  }
  for (const { destination, scope, gateway, type, linkIndex } of routes) {
    // IPv6 has no scopes: what has no gateway is on the link
    const onLink = destination?.address.includes(':')
      ? gateway === undefined && type === ROUTE_TYPE.UNICAST
      : scope === ROUTE_SCOPE.LINK;
    if (!destination || !onLink || linkIndex === standingIndex) continue;
    const route = withPrefix(destination);
    if (overlaps(parseCidr(route).range, subnet)) {
      throw overlap(id, subnet, `${route}, which an interface of this host is on`);
    }
  }
}

/** The subnets as ranges. */
export function subnetRanges(subnets: readonly Pick<Subnet, 'subnet'>[]): AddressRange[] {
  return subnets.map(({ subnet }) => parseCidr(subnet).range);
}

function overlap(id: string, subnet: AddressRange, taken: string): NetworkError {
  return new NetworkError(
    'ADDRESS_OVERLAP',
    `subnet ${formatRange(subnet)} of network ${id} overlaps ${taken}; choose another`,
  );
}

function withPrefix({ address, prefixLength }: { address: string; prefixLength: number }): string {
  return `${address}/${prefixLength}`;
}
