/**
 * Address management: which subnet a network gets, which address an endpoint gets.
 *
 * Nothing is written down here. What is in use follows from the networks and endpoints themselves, which the caller
 * keeps and hands back after a crash, so that there is no second record to fall out of step. Processes that share
 * networks pass an {@link AddressBook}, in which each address is written before it is used.
 */

import { createHash } from 'node:crypto';

import type { AddressBook } from './address-book.ts';
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

/**
 * Unique local IPv6 subnets (RFC 4193): the 40 bits that make them unique follow from `seed`, which should be the
 * machine's own, so that two machines have different ones and each has the same after every start.
 */
export function uniqueLocalPool(seed: string): AddressPool {
  const hex = createHash('sha256').update(`@tare/netdriver ${seed}`).digest('hex');
  return { base: `fd${hex.slice(0, 2)}:${hex.slice(2, 6)}:${hex.slice(6, 10)}::/48`, prefixLength: 64 };
}

/** Addresses given back are not given out again before this many others were, while there are others. */
const RECENTLY_RELEASED = 64;

/**
 * Picks the first subnet of the family's `pools` that overlaps none of `taken`.
 *
 * @param asked a prefix length to use in place of the pools' own
 * @throws {NetworkError} `POOL_EXHAUSTED`
 */
export function chooseSubnet(
  pools: readonly AddressPool[],
  taken: readonly AddressRange[],
  family: 4 | 6 = 4,
  asked?: number,
): AddressRange {
  for (const { base, prefixLength } of pools) {
    const { range } = parseCidr(base);
    if (range.family !== family || (asked !== undefined && asked < range.prefixLength)) continue;
    for (const subnet of split(range, asked ?? prefixLength)) {
      if (!taken.some((other) => overlaps(other, subnet))) return subnet;
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

/** What {@link AddressAllocator} manages. */
export interface AddressesConfig {
  subnet: AddressRange;
  /** The network's own address: the first of the subnet when absent; null for a network that has none. */
  gateway?: string | null | undefined;
  ipRange?: string | undefined;
  /** Addresses that are never given out. */
  reserved?: readonly string[] | undefined;
  /** Where processes that share the subnet write down what they take. */
  book?: { book: AddressBook; networkId: string } | undefined;
}

/** The addresses of one subnet. */
export class AddressAllocator {
  readonly subnet: AddressRange;
  readonly gateway: bigint | undefined;
  readonly #dynamic: AddressRange;
  readonly #book: AddressesConfig['book'];
  readonly #reserved = new Set<bigint>();
  readonly #used = new Set<bigint>();
  /** Oldest first. */
  readonly #recent = new Set<bigint>();
  /** No free address that may be given out dynamically lies below this one. */
  #lowest: bigint;

  /**
   * @throws {NetworkError} `INVALID_CONFIG` when the gateway, the range or a reserved address is not inside of the subnet
   */
  constructor({ subnet, gateway, ipRange, reserved = [], book }: AddressesConfig) {
    this.subnet = subnet;
    this.#book = book;
    const name = formatRange(subnet);
    if (subnet.last - subnet.first < 1n) {
      throw new NetworkError(
        'INVALID_CONFIG',
        `subnet ${name} is too small to hold a gateway and an endpoint`,
      );
    }
    this.#dynamic = subnet;
    if (ipRange !== undefined) {
      const { range } = configured(`IP range of subnet ${name}`, () => parseCidr(ipRange));
      if (!contains(subnet, range)) {
        throw new NetworkError('INVALID_CONFIG', `IP range ${ipRange} is not inside of subnet ${name}`);
      }
      this.#dynamic = range;
    }
    for (const text of reserved) {
      const { family, value } = configured(`reserved address of subnet ${name}`, () => parseAddress(text));
      if (family !== subnet.family || value < subnet.first || value > subnet.last) {
        throw new NetworkError('INVALID_CONFIG', `reserved address ${text} is not inside of subnet ${name}`);
      }
      this.#reserved.add(value);
    }
    this.gateway = gateway === null ? undefined : this.#gatewayAt(gateway);
    if (this.gateway !== undefined) this.#reserved.add(this.gateway);
    this.#lowest = this.#usable(this.#dynamic).low;
    for (const text of book?.book.taken(book.networkId) ?? []) {
      const { family, value } = parseAddress(text);
      if (family === subnet.family && value >= subnet.first && value <= subnet.last) this.#recent.add(value);
    }
  }

  /** How many addresses are in use, those that are reserved not counted. */
  get size(): number {
    return this.#used.size;
  }

  /**
   * Takes the lowest free address, or the one asked for.
   *
   * @param owner whose it is to be, for the address book: the same owner gets an address again
   * @throws {NetworkError} `NO_FREE_ADDRESS`, `ADDRESS_IN_USE`, `INVALID_CONFIG` when the one asked for is not the
   *   subnet's
   */
  allocate(fixed?: string, owner = ''): string {
    const address = fixed === undefined ? this.#next(owner) : this.#fixed(fixed, owner);
    this.#used.add(address);
    this.#recent.delete(address);
    return formatAddress(this.subnet.family, address);
  }

  /** Gives an address back. Giving back what is not in use does nothing. */
  release(text: string): void {
    const address = parseAddress(text).value;
    if (!this.#used.delete(address)) return;
    this.#book?.book.release(this.#book.networkId, text);
    if (address < this.#lowest && address >= this.#usable(this.#dynamic).low) this.#lowest = address;
    this.#recent.add(address);
    if (this.#recent.size > RECENTLY_RELEASED) {
      const [oldest] = this.#recent;
      this.#recent.delete(oldest!);
    }
  }

  #gatewayAt(text: string | undefined): bigint {
    const { low, high } = this.#usable(this.subnet);
    const name = formatRange(this.subnet);
    if (text === undefined) {
      let first = low;
      while (this.#reserved.has(first) && first < high) first++;
      return first;
    }
    const { family, value } = configured(`gateway of subnet ${name}`, () => parseAddress(text));
    if (family !== this.subnet.family || value < low || value > high) {
      throw new NetworkError('INVALID_CONFIG', `gateway ${text} is not a host address of subnet ${name}`);
    }
    return value;
  }

  #next(owner: string): bigint {
    const { low, high } = this.#usable(this.#dynamic);
    const free = (address: bigint): boolean => !this.#used.has(address) && !this.#reserved.has(address);
    while (this.#lowest <= high && !free(this.#lowest)) this.#lowest++;
    for (let address = this.#lowest; address <= high; address++) {
      if (free(address) && !this.#recent.has(address) && this.#take(address, owner)) return address;
    }
    for (const address of this.#recent) {
      if (address >= low && address <= high && free(address) && this.#take(address, owner)) return address;
    }
    throw new NetworkError(
      'NO_FREE_ADDRESS',
      `every address of ${formatRange(this.#dynamic)} is in use; remove an endpoint or use a larger subnet`,
    );
  }

  #fixed(text: string, owner: string): bigint {
    const name = formatRange(this.subnet);
    const { family, value } = configured('address', () => parseAddress(text));
    const { low, high } = this.#usable(this.subnet);
    if (family !== this.subnet.family || value < low || value > high) {
      throw new NetworkError('INVALID_CONFIG', `address ${text} is not a host address of subnet ${name}`);
    }
    // a reserved address may be asked for by name, unless it is the network's own
    if (this.#used.has(value) || value === this.gateway || !this.#take(value, owner)) {
      throw new NetworkError('ADDRESS_IN_USE', `address ${text} of subnet ${name} is already in use`);
    }
    return value;
  }

  /** Writes down that an address is taken, unless another process did so before. */
  #take(address: bigint, owner: string): boolean {
    if (!this.#book) return true;
    const { book, networkId } = this.#book;
    return book.take(networkId, formatAddress(this.subnet.family, address), owner);
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
