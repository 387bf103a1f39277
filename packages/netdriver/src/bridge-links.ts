/**
 * The links that a bridge driver makes, and how it knows them again: each is in a link group whose number follows from
 * the driver's name, and a bridge says in its alias which network it carries.
 *
 * Deleting a link takes the kernel 20 ms, deleting two hundred of one group little more. So links are cut off at once,
 * which is cheap, put in a second group, and that group is emptied behind the caller's back.
 */

import { createHash, randomBytes } from 'node:crypto';

import type { Network } from './driver.ts';
import { NetdriverError } from './errors.ts';
import { Flows } from './flows.ts';
import type { NetworkKernel } from './kernel.ts';
import {
  addAddress,
  decodeAddress,
  deleteAddress,
  dumpAddresses,
  type InterfaceAddress,
} from './netlink/address.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { AF } from './netlink/ip-address.ts';
import {
  createBridge,
  createVeth,
  decodeLink,
  deleteLink,
  deleteLinkGroup,
  dumpLinks,
  getLink,
  macText,
  PORT_STATE,
  setBridgePort,
  setLink,
  type Link,
} from './netlink/link.ts';
import { deleteNeighbour } from './netlink/neighbour.ts';
import { addLoopbackRoute, decodeRoute, dumpRoutes, MAIN_TABLE, type Route } from './netlink/route.ts';
import { Gathering } from './operation-order.ts';
import { hasIpv6, writeSysctl } from './sysctl.ts';

/** A thousand times what it takes; only a bridge that somebody took down comes to it. */
const FORWARDING_TIMEOUT_MS = 2000;

/** Requests in one piece: their acknowledgements fit every receive buffer. */
const REQUESTS_AT_ONCE = 192;

/**
 * Cut-off links are deleted once no more came for a moment, or after so long. Meanwhile the kernel's lock, which a deletion
 * holds for 20 ms, is free for others: the next endpoint need not wait behind the last one.
 */
const GATHER_MS = 100;
const GATHER_MOST_MS = 2000;

/** What the alias of each of our bridges begins with. */
const ALIAS_PREFIX = 'tare ';

/** What a bridge is to be. */
export interface BridgeOptions {
  networkId: string;
  bridgeName: string;
  addresses: readonly { address: string; prefixLength: number }[];
  mtu: number;
  ipv6: boolean;
  /** Lets the host's ::1 be translated to an endpoint's address, as far as the kernel can. */
  loopback6: boolean;
  /** Somebody else's, who sees to everything but our addresses. */
  foreign: boolean;
}

/** The host's side of a driver's links, in this process's network namespace. */
export class BridgeLinks {
  readonly #kernel: Pick<NetworkKernel, 'openNetlink'>;
  readonly #driverName: string;
  readonly #group: number;
  readonly #graveyard: number;
  #route: NetlinkConnection | undefined;
  #reaper: NetlinkConnection | undefined;
  /** Addresses that were added to somebody else's bridges, by the bridge's index. */
  readonly #added = new Map<number, { address: string; prefixLength: number }[]>();
  readonly #flows: Flows;
  #buried = false;
  #burials = 0;
  /** How many wait for the deletions under way. */
  #hurried = 0;
  #wake: (() => void) | undefined;
  #reaping: Promise<void> | undefined;

  constructor(kernel: Pick<NetworkKernel, 'openNetlink'>, driverName: string) {
    this.#kernel = kernel;
    this.#driverName = driverName;
    this.#flows = new Flows(kernel);
    // even and never 0, the group of everything that nobody put into one
    const hash = createHash('sha256').update(`@tare/netdriver ${driverName}`).digest().readUInt32LE(0);
    this.#group = ((hash & 0x7ffffffe) | 0x40000000) >>> 0;
    this.#graveyard = this.#group + 1;
  }

  /** Every link of the namespace. */
  async list(): Promise<Link[]> {
    return (await this.#connect().ask(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
  }

  async find(name: string): Promise<Link | undefined> {
    try {
      const [message] = await this.#connect().ask(getLink({ name }));
      return message && decodeLink(message);
    } catch (error) {
      if (isRefusal(error, 'ENODEV')) return undefined;
      throw error;
    }
  }

  /** Whether this driver made a link and still needs it. */
  isOurs(link: Link): boolean {
    return link.group === this.#group;
  }

  /** Whether a link is the bridge that this driver made for a network. */
  carries(link: Link, networkId: string): boolean {
    if (!this.isOurs(link) || link.kind !== 'bridge') return false;
    // a crash right after it was made left it without an alias
    return link.alias === this.#alias(networkId) || link.alias === undefined;
  }

  /** Whether a link carries a network of any driver of this package. */
  isClaimed(link: Link): boolean {
    return this.isOurs(link) || (link.alias?.startsWith(ALIAS_PREFIX) ?? false);
  }

  /** Every address of the namespace. */
  async addresses(): Promise<InterfaceAddress[]> {
    return (await this.#connect().ask(dumpAddresses(AF.UNSPEC))).flatMap(
      (message) => decodeAddress(message) ?? [],
    );
  }

  /** The routes that everybody uses, of both families. */
  async routes(): Promise<Route[]> {
    const route = this.#connect();
    return [...(await route.ask(dumpRoutes(AF.INET))), ...(await route.ask(dumpRoutes(AF.INET6)))]
      .flatMap((message) => decodeRoute(message) ?? [])
      .filter(({ table }) => table === MAIN_TABLE);
  }

  /** Makes a bridge and returns its index. Leaves nothing behind when it fails. */
  async createBridge(options: BridgeOptions): Promise<number> {
    const { bridgeName, mtu } = options;
    const route = this.#connect();
    // with an address of its own, or it would change with its ports
    await route.send(createBridge({ name: bridgeName, macAddress: randomMac(), mtu, group: this.#group }));
    try {
      return await this.repairBridge(options);
    } catch (error) {
      await route.send(deleteLink({ name: bridgeName }), { ignore: ['ENODEV'] });
      throw error;
    }
  }

  /** Makes a bridge that stands as it should be, and returns its index. */
  async repairBridge(options: BridgeOptions): Promise<number> {
    const { networkId, bridgeName, addresses, mtu, ipv6, loopback6, foreign } = options;
    const link = await this.find(bridgeName);
    if (!link) throw new NetdriverError('ENODEV', `bridge ${bridgeName} is gone`);
    // lets the host's 127.0.0.1 be translated to a container's address; the firewall keeps strangers out of it
    writeSysctl(`net/ipv4/conf/${bridgeName}/route_localnet`, '1');
    if (hasIpv6() && !foreign) {
      writeSysctl(`net/ipv6/conf/${bridgeName}/accept_ra`, '0');
      writeSysctl(`net/ipv6/conf/${bridgeName}/disable_ipv6`, ipv6 ? '0' : '1');
    }
    if (foreign) {
      const present = new Set(
        (await this.addresses()).map(({ linkIndex, address }) => `${linkIndex} ${address}`),
      );
      const added = addresses.filter(({ address }) => !present.has(`${link.index} ${address}`));
      this.#added.set(link.index, [...(this.#added.get(link.index) ?? []), ...added]);
    }
    await this.#connect().send([
      ...addresses.map((address) => addAddress({ linkIndex: link.index, ...address }, { replace: true })),
      setLink(
        { index: link.index },
        foreign ? { up: true } : { up: true, mtu, alias: this.#alias(networkId) },
      ),
    ]);
    if (loopback6) {
      // answers for ::1 come in by the bridge, where without this route nobody has that address
      await this.#connect().send(addLoopbackRoute(link.index), { ignore: ['EEXIST'] });
    }
    return link.index;
  }

  /** Makes a veth pair between a bridge and a namespace. */
  async createVeth(options: {
    name: string;
    mtu: number;
    bridgeIndex: number;
    peer: { name: string; macAddress: string; namespaceFd: number };
  }): Promise<void> {
    const { name, mtu, bridgeIndex: master, peer } = options;
    const requests = [createVeth({ name, mtu, master, peer, group: this.#group })];
    // a bridge port speaks for nobody; and the kernel walks its IPv6 routes each time that a link comes or goes
    if (hasIpv6()) requests.push(setLink({ name }, { withoutOwnIpv6: true }));
    try {
      await this.#connect().send(requests);
    } catch (error) {
      if (!isRefusal(error, 'EEXIST')) throw error;
      // the interface name may be that of a pair which was cut off but is not yet deleted
      await this.sweep();
      await this.#connect().send(requests);
    }
  }

  /** Puts a link back into a bridge. */
  async join(index: number, bridgeIndex: number): Promise<void> {
    await this.#connect().send(setLink({ index }, { master: bridgeIndex, up: true }));
  }

  /**
   * Resolves once the bridge passes frames from and to a port. The kernel gets there by itself, microseconds after
   * both ends of the pair are up; a frame sent before would be lost, and ARP repeats itself only after a second.
   */
  async forwarding(name: string, signal?: AbortSignal): Promise<void> {
    const deadline = performance.now() + FORWARDING_TIMEOUT_MS;
    for (;;) {
      signal?.throwIfAborted();
      const link = await this.find(name);
      if (!link) throw new NetdriverError('ENODEV', `interface ${name} vanished while it came up`);
      if (link.portState === PORT_STATE.FORWARDING) return;
      if (performance.now() > deadline) {
        throw new NetdriverError(
          'NOT_FORWARDING',
          `interface ${name} is up but its bridge passes nothing to it; is the bridge down?`,
        );
      }
    }
  }

  /** Sets how the bridge treats a port. */
  async setPort(index: number, settings: { hairpin: boolean; isolated: boolean }): Promise<void> {
    await this.#connect().send(setBridgePort(index, settings));
  }

  /**
   * Cuts links off at once; they are deleted a little later (see {@link settled}). Links that are gone are fine.
   *
   * @param gone addresses that are no longer where they were, whose neighbour entries are to be forgotten
   */
  async bury(
    links: readonly Pick<Link, 'index'>[],
    gone: { bridgeIndex: number; addresses: readonly string[] } = { bridgeIndex: 0, addresses: [] },
  ): Promise<void> {
    const { bridgeIndex: linkIndex, addresses } = gone;
    if (links.length === 0) return;
    await this.#cuts.add([
      ...links.flatMap(({ index }) => [
        setLink({ index }, { group: this.#graveyard }),
        // last: any other change of the link makes the bridge look at it again and open the port
        setBridgePort(index, { state: PORT_STATE.DISABLED }),
      ]),
      ...addresses.map((address) => deleteNeighbour({ linkIndex, address })),
    ]);
    this.#reap();
  }

  /** Forgets connections of addresses that are no longer where they were. */
  async forgetFlows(addresses: readonly string[]): Promise<void> {
    await this.#flows.forgetAddresses(addresses);
  }

  /** Deletes the bridge of a network and waits for it; from one that is somebody else's, only our addresses. */
  async removeBridge(options: { networkId: string; index: number; network: Network }): Promise<void> {
    const { networkId, index, network } = options;
    await this.settled();
    const link = await this.find(network.linkName);
    if (!link) return;
    if (this.carries(link, networkId)) {
      await this.#connect().send(deleteLink({ index: link.index }), { ignore: ['ENODEV'] });
      return;
    }
    const added = this.#added.get(index) ?? [];
    this.#added.delete(index);
    await this.#connect().send(
      added.map((address) => deleteAddress({ linkIndex: index, ...address })),
      { ignore: ['EADDRNOTAVAIL', 'ENODEV'] },
    );
  }

  /** Resolves once every link that was cut off is deleted. */
  async settled(): Promise<void> {
    this.#hurried += 1;
    this.#wake?.();
    try {
      await this.#reaping;
    } finally {
      this.#hurried -= 1;
    }
  }

  /** Deletes what an earlier process cut off, and waits for it. */
  async sweep(): Promise<void> {
    this.#reap();
    await this.settled();
  }

  /** Deletes every link of this driver, whichever process made it. */
  async deleteAll(): Promise<void> {
    await this.settled();
    await this.#connect().send([deleteLinkGroup(this.#group), deleteLinkGroup(this.#graveyard)], {
      ignore: ['ENODEV'],
    });
  }

  /** Forgets connections to host ports that now lead elsewhere. */
  async forgetPorts(ports: readonly { family: 4 | 6; protocol: number; port: number }[]): Promise<void> {
    await this.#flows.forgetPorts(ports);
  }

  /** Waits for deletions under way and closes the sockets. */
  async close(): Promise<void> {
    await this.settled();
    for (const connection of [this.#route, this.#reaper]) connection?.close();
    this.#route = this.#reaper = undefined;
    this.#flows.close();
  }

  /** Of many at once. */
  readonly #cuts = new Gathering<NetlinkRequest>(async (requests) => {
    for (let at = 0; at < requests.length; at += REQUESTS_AT_ONCE) {
      await this.#connect().send(
        requests.slice(at, at + REQUESTS_AT_ONCE),
        // a container that ended took its end of the pair, and with it ours; nobody may have known its address
        { ignore: ['ENODEV', 'EINVAL', 'EOPNOTSUPP', 'ENOENT', 'ENXIO'] },
      );
    }
  });

  #alias(networkId: string): string {
    return `${ALIAS_PREFIX}${this.#driverName} ${networkId}`;
  }

  #reap(): void {
    this.#buried = true;
    this.#burials += 1;
    this.#reaping ??= this.#emptyGraveyard().finally(() => {
      this.#reaping = undefined;
    });
    // a failure is for those who wait; the links stay in the graveyard, which the next burial empties
    this.#reaping.catch(() => undefined);
  }

  async #emptyGraveyard(): Promise<void> {
    // a connection of its own: whatever else there is to do need not wait behind it
    this.#reaper ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'route' }));
    while (this.#buried) {
      if (this.#hurried === 0) await this.#gather();
      this.#buried = false;
      await this.#reaper.send(deleteLinkGroup(this.#graveyard), { ignore: ['ENODEV'] });
    }
  }

  /** Waits until no more are being buried, or somebody waits for those that are. */
  async #gather(): Promise<void> {
    const deadline = performance.now() + GATHER_MOST_MS;
    for (let count = -1; count !== this.#burials && performance.now() < deadline && this.#hurried === 0;) {
      count = this.#burials;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, GATHER_MS);
      await promise;
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }

  #connect(): NetlinkConnection {
    this.#route ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'route' }));
    return this.#route;
  }
}

/** A random locally administered unicast MAC address. */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  return macText(bytes);
}

function isRefusal(error: unknown, code: string): boolean {
  return NetdriverError.is(error) && error.code === code;
}
