/**
 * Address management: which subnet a network gets, which address an endpoint gets.
 *
 * Nothing is written down here. What is in use follows from the networks and endpoints themselves, which the caller
 * keeps and hands back after a crash, so that there is no second record to fall out of step.
 */

import {
  contains,
  formatAddress,
  formatRange,
  overlaps,
  parseAddress,
  parseCidr,
  split,
  type AddressRange,
} from './address-range.ts';
import { NetworkError } from './errors.ts';

/** Blocks that subnets are cut from when a network does not name its own. */
export interface AddressPool {
  /** `192.168.0.0/16`. */
  base: string;
  /** Prefix length of the subnets cut from it. */
  prefixLength: number;
}

/** Docker's: 172.17 to 172.31 whole, then 192.168 in sixteenths: 31 networks. */
export const DEFAULT_POOLS: readonly AddressPool[] = [
  ...Array.from({ length: 15 }, (_, i) => ({ base: `172.${17 + i}.0.0/16`, prefixLength: 16 })),
  { base: '192.168.0.0/16', prefixLength: 20 },
];

/** Addresses given back are not given out again before this many others were, while there are others. */
const RECENTLY_RELEASED = 64;

/**
 * Picks the first subnet of `pools` that overlaps none of `taken`.
 *
 * @throws {NetworkError} `POOL_EXHAUSTED`
 */
export function chooseSubnet(pools: readonly AddressPool[], taken: readonly AddressRange[]): AddressRange {
  for (const { base, prefixLength } of pools) {
    for (const subnet of split(parseCidr(base).range, prefixLength)) {
      if (!taken.some((range) => overlaps(range, subnet))) return subnet;
    }
  }
  throw new NetworkError(
    'POOL_EXHAUSTED',
    'every subnet of the address pools overlaps a network or a route of this host; name a subnet for the network',
  );
}

/** Parses configuration, turning what is wrong into `INVALID_CONFIG`. */
export function configured<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new NetworkError('INVALID_CONFIG', `${what}: ${reason}`, { cause });
  }
}

/** The addresses of one network. */
export class AddressAllocator {
  readonly subnet: AddressRange;
  readonly gateway: bigint;
  readonly #dynamic: AddressRange;
  readonly #used = new Set<bigint>();
  /** Oldest first. */
  readonly #recent = new Set<bigint>();
  /** No free address that may be given out dynamically lies below this one. */
  #lowest: bigint;

  /**
   * @throws {NetworkError} `INVALID_CONFIG` when the gateway or the range is not inside of the subnet
   */
  constructor(config: { subnet: AddressRange; gateway?: string | undefined; ipRange?: string | undefined }) {
    this.subnet = config.subnet;
    const name = formatRange(this.subnet);
    if (this.subnet.last - this.subnet.first < 1n) {
      throw new NetworkError(
        'INVALID_CONFIG',
        `subnet ${name} is too small to hold a gateway and an endpoint`,
      );
    }
    this.#dynamic = this.subnet;
    if (config.ipRange !== undefined) {
      const { range } = configured(`IP range of subnet ${name}`, () => parseCidr(config.ipRange!));
      if (!contains(this.subnet, range)) {
        throw new NetworkError(
          'INVALID_CONFIG',
          `IP range ${config.ipRange} is not inside of subnet ${name}`,
        );
      }
      this.#dynamic = range;
    }
    const { low, high } = this.#usable(this.subnet);
    this.gateway = low;
    if (config.gateway !== undefined) {
      const gateway = configured(`gateway of subnet ${name}`, () => parseAddress(config.gateway!));
      if (gateway.family !== this.subnet.family || gateway.value < low || gateway.value > high) {
        throw new NetworkError(
          'INVALID_CONFIG',
          `gateway ${config.gateway} is not a host address of subnet ${name}`,
        );
      }
      this.gateway = gateway.value;
    }
    this.#used.add(this.gateway);
    this.#lowest = this.#usable(this.#dynamic).low;
  }

  /** How many addresses are in use, the gateway not counted. */
  get size(): number {
    return this.#used.size - 1;
  }

  /**
   * Takes the lowest free address, or the one asked for.
   *
   * @throws {NetworkError} `NO_FREE_ADDRESS`, `ADDRESS_IN_USE`, `INVALID_CONFIG` when the one asked for is not the
   *   subnet's
   */
  allocate(fixed?: string): string {
    const address = fixed === undefined ? this.#next() : this.#fixed(fixed);
    this.#used.add(address);
    this.#recent.delete(address);
    return formatAddress(this.subnet.family, address);
  }

  /** Gives an address back. Giving back what is not in use does nothing. */
  release(text: string): void {
    const address = parseAddress(text).value;
    if (address === this.gateway || !this.#used.delete(address)) return;
    if (address < this.#lowest && address >= this.#usable(this.#dynamic).low) this.#lowest = address;
    this.#recent.add(address);
    if (this.#recent.size > RECENTLY_RELEASED) {
      const [oldest] = this.#recent;
      this.#recent.delete(oldest!);
    }
  }

  #next(): bigint {
    const { high } = this.#usable(this.#dynamic);
    while (this.#lowest <= high && this.#used.has(this.#lowest)) this.#lowest++;
    for (let address = this.#lowest; address <= high; address++) {
      if (!this.#used.has(address) && !this.#recent.has(address)) return address;
    }
    for (const address of this.#recent) {
      if (address >= this.#lowest && address <= high) return address;
    }
    throw new NetworkError(
      'NO_FREE_ADDRESS',
      `every address of ${formatRange(this.#dynamic)} is in use; remove an endpoint or use a larger subnet`,
    );
  }

  #fixed(text: string): bigint {
    const name = formatRange(this.subnet);
    const { family, value } = configured('address', () => parseAddress(text));
    const { low, high } = this.#usable(this.subnet);
    if (family !== this.subnet.family || value < low || value > high) {
      throw new NetworkError('INVALID_CONFIG', `address ${text} is not a host address of subnet ${name}`);
    }
    if (this.#used.has(value)) {
      throw new NetworkError('ADDRESS_IN_USE', `address ${text} of subnet ${name} is already in use`);
    }
    return value;
  }

  /** Without the subnet's network and broadcast addresses, which a /31 does not have (RFC 3021), nor does IPv6. */
  #usable(range: AddressRange): { low: bigint; high: bigint } {
    const { first, last, family } = this.subnet;
    const whole = last - first < 2n;
    // in IPv6 the lowest address is the routers' anycast address
    const low = whole ? first : first + 1n;
    const high = whole || family === 6 ? last : last - 1n;
    return { low: range.first > low ? range.first : low, high: range.last < high ? range.last : high };
  }
}
