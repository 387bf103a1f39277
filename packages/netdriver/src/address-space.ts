/** The addresses of one family that a network has: one subnet or several. */

import { contains, formatAddress, parseAddress, rangeAround } from './address-range.ts';
import { NetworkError } from './errors.ts';
import { configured, type AddressAllocator } from './ipam.ts';

/** An address of a network, with what its subnet says about it. */
export interface SpaceAddress {
  /** Without prefix length. */
  address: string;
  prefixLength: number;
  /** Where the subnet's endpoints send what leaves the network. */
  router: string | undefined;
}

/** One subnet of a space. */
export interface SpaceSubnet {
  allocator: AddressAllocator;
  /** See `SubnetConfig.router`; the gateway when absent. */
  router: string | undefined;
}

/** Gives out addresses of the first subnet that has one. */
export class AddressSpace {
  readonly #subnets: readonly SpaceSubnet[];

  constructor(subnets: readonly SpaceSubnet[]) {
    this.#subnets = subnets;
  }

  /**
   * @throws {NetworkError} `NO_FREE_ADDRESS` when no subnet has one, `ADDRESS_IN_USE`, `INVALID_CONFIG` when the one
   *   asked for is of none
   */
  allocate(fixed: string | undefined, owner: string): SpaceAddress {
    if (fixed !== undefined) return this.#from(this.#holding(fixed) ?? this.#subnets[0]!, fixed, owner);
    for (const [index, subnet] of this.#subnets.entries()) {
      try {
        return this.#from(subnet, undefined, owner);
      } catch (error) {
        const full = error instanceof NetworkError && error.code === 'NO_FREE_ADDRESS';
        if (!full || index === this.#subnets.length - 1) throw error;
      }
    }
    throw new NetworkError('NO_FREE_ADDRESS', 'the network has no subnet of this family');
  }

  /** Gives an address back. */
  release(address: string): void {
    this.#holding(address)?.allocator.release(address);
  }

  /** What the subnet of an address says about it. */
  describe(address: string): SpaceAddress | undefined {
    const subnet = this.#holding(address);
    return subnet && described(subnet, address);
  }

  #from(subnet: SpaceSubnet, fixed: string | undefined, owner: string): SpaceAddress {
    return described(subnet, subnet.allocator.allocate(fixed, owner));
  }

  #holding(text: string): SpaceSubnet | undefined {
    const { family, value } = configured('address', () => parseAddress(text));
    const single = rangeAround(family, value, family === 4 ? 32 : 128);
    return this.#subnets.find(({ allocator }) => contains(allocator.subnet, single));
  }
}

function described({ allocator, router }: SpaceSubnet, address: string): SpaceAddress {
  const { subnet, gateway } = allocator;
  return {
    address,
    prefixLength: subnet.prefixLength,
    router: router ?? (gateway === undefined ? undefined : formatAddress(subnet.family, gateway)),
  };
}
