/** The addresses of endpoints, whatever the driver: taking them, giving them back, and what routes follow from them. */

import { parseCidr } from './address-range.ts';
import type { AddressSpace, SpaceAddress } from './address-space.ts';
import type { DefaultRoute, Endpoint, EndpointConfig, Network } from './driver.ts';
import { configured } from './ipam.ts';
import { familyOf } from './ports.ts';

/** A network with its addresses. */
export interface AddressedNetwork {
  readonly network: Network;
  readonly addresses4: AddressSpace | undefined;
  readonly addresses6: AddressSpace | undefined;
}

/**
 * Takes an address of each family that a network has.
 *
 * @throws {NetworkError} `INVALID_CONFIG`, `ADDRESS_IN_USE`, `NO_FREE_ADDRESS`
 */
export function takeAddresses(
  network: AddressedNetwork,
  { id, ipv4Address, ipv6Address }: EndpointConfig,
): [SpaceAddress | undefined, SpaceAddress | undefined] {
  const { addresses4, addresses6 } = network;
  for (const [family, address, space] of [
    [4, ipv4Address, addresses4],
    [6, ipv6Address, addresses6],
  ] as const) {
    if (address === undefined) continue;
    configured(`address of endpoint ${id}`, () => {
      if (familyOf(address) !== family) throw new RangeError(`${address} is not an IPv${family} address`);
      if (!space) throw new RangeError(`network ${network.network.id} has no IPv${family} for ${address}`);
    });
  }
  const ipv4 = addresses4?.allocate(ipv4Address, id);
  try {
    return [ipv4, addresses6?.allocate(ipv6Address, id)];
  } catch (error) {
    giveBack(network, [ipv4]);
    throw error;
  }
}

/** Gives addresses back. */
export function giveBack(network: AddressedNetwork, addresses: readonly (SpaceAddress | undefined)[]): void {
  for (const taken of addresses) if (taken) spaceOf(network, taken.address)?.release(taken.address);
}

/** The default routes that an endpoint gets. */
export function gatewaysOf(
  { network }: AddressedNetwork,
  route: DefaultRoute,
  ipv4: SpaceAddress | undefined,
  ipv6: SpaceAddress | undefined,
): Pick<Endpoint, 'gateway' | 'gateway6'> {
  if (network.internal) return {};
  const wants = typeof route === 'boolean' ? { ipv4: route, ipv6: route } : route;
  return {
    ...(wants.ipv4 && ipv4?.router !== undefined ? { gateway: ipv4.router } : {}),
    ...(wants.ipv6 && ipv6?.router !== undefined ? { gateway6: ipv6.router } : {}),
  };
}

/** The addresses of a family, by one of them. */
export function spaceOf(
  { addresses4, addresses6 }: AddressedNetwork,
  address: string,
): AddressSpace | undefined {
  return familyOf(address) === 4 ? addresses4 : addresses6;
}

/** What the network says about the addresses that an endpoint has, IPv4 and IPv6. */
export function describeAddresses(
  network: AddressedNetwork,
  endpoint: Pick<Endpoint, 'ipv4Address' | 'ipv6Address'>,
): [SpaceAddress | undefined, SpaceAddress | undefined] {
  const of = (family: 4 | 6): SpaceAddress | undefined => {
    const own = addressesOf(endpoint).find(({ address }) => familyOf(address) === family)?.address;
    return own === undefined ? undefined : spaceOf(network, own)?.describe(own);
  };
  return [of(4), of(6)];
}

/** The addresses of an endpoint, those of IPv4 first. */
export function addressesOf({
  ipv4Address,
  ipv6Address,
}: Pick<Endpoint, 'ipv4Address' | 'ipv6Address'>): { address: string; prefixLength: number }[] {
  return [ipv4Address, ipv6Address].flatMap((text) =>
    text === undefined
      ? []
      : { address: text.split('/')[0]!, prefixLength: parseCidr(text).range.prefixLength },
  );
}

/** `172.17.0.2/16`. */
export function withPrefix({ address, prefixLength }: SpaceAddress): string {
  return `${address}/${prefixLength}`;
}
