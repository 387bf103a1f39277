/** Parents of macvlan and ipvlan networks: interfaces of the host, their tagged parts, and ones that lead nowhere. */

import { createHash } from 'node:crypto';

import { checkInterfaceName } from './bridge-config.ts';
import { randomMac } from './bridge-links.ts';
import { NetdriverError, NetworkError } from './errors.ts';
import type { NetworkKernel } from './kernel.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import { AF } from './netlink/ip-address.ts';
import {
  createVeth,
  createVlan,
  decodeLink,
  deleteLink,
  dumpLinks,
  getLink,
  setLink,
  type Link,
} from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { decodeRoute, dumpRoutes, MAIN_TABLE, type Route } from './netlink/route.ts';

const NAME_BYTES = 15;

/** The host's side of a driver's links. Those that it made are in a link group of its own. */
export class VlanParents {
  readonly #kernel: Pick<NetworkKernel, 'openNetlink'>;
  readonly #group: number;
  #connection: NetlinkConnection | undefined;

  constructor(kernel: Pick<NetworkKernel, 'openNetlink'>, driverName: string) {
    this.#kernel = kernel;
    const hash = createHash('sha256').update(`@tare/netdriver vlan ${driverName}`).digest().readUInt32LE(0);
    this.#group = (hash | 0x40000000) >>> 0;
  }

  /**
   * The parent of a network, made when it is not there and can be: `eth0.7` is what `eth0` carries with the tag 7, and
   * without a name the network gets a parent of its own that leads nowhere.
   *
   * @throws {NetworkError} `NOT_FOUND`
   */
  async open(networkId: string, name: string | undefined, mtu: number | undefined): Promise<Link> {
    const parentName = name ?? `dm-${networkId}`.slice(0, NAME_BYTES);
    checkInterfaceName(parentName);
    const standing = await this.#find(parentName);
    if (standing) return standing;
    await this.send(
      name === undefined
        ? this.#deadEnd(networkId, parentName, mtu)
        : [await this.#tagged(name), setLink({ name }, { up: true })],
    );
    const made = await this.#find(parentName);
    if (!made) throw new NetworkError('NOT_FOUND', `interface ${parentName} vanished as soon as it was made`);
    return made;
  }

  /** Removes a parent that this driver made; any other is left alone. */
  async close(name: string): Promise<void> {
    const link = await this.#find(name);
    if (link?.group === this.#group) await this.send([deleteLink({ index: link.index })], ['ENODEV']);
  }

  /** Removes every parent that this driver made and nobody wants. */
  async sweep(wanted: ReadonlySet<string>): Promise<void> {
    const links = (await this.#connect().ask(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
    const stale = links.filter(({ group, name }) => group === this.#group && !wanted.has(name));
    await this.send(
      stale.map(({ index }) => deleteLink({ index })),
      ['ENODEV'],
    );
  }

  /** The routes that everybody uses, of both families. */
  async routes(): Promise<Route[]> {
    const route = this.#connect();
    return [...(await route.ask(dumpRoutes(AF.INET))), ...(await route.ask(dumpRoutes(AF.INET6)))]
      .flatMap((message) => decodeRoute(message) ?? [])
      .filter(({ table }) => table === MAIN_TABLE);
  }

  async send(requests: readonly NetlinkRequest[], ignore: readonly string[] = []): Promise<void> {
    await this.#connect().send(requests, { ignore });
  }

  closeSockets(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** A cable whose other end is held in the air: with nothing at it, a link has no carrier. */
  #deadEnd(networkId: string, name: string, mtu = 1500): NetlinkRequest[] {
    const peer = { name: `dp-${networkId}`.slice(0, NAME_BYTES), macAddress: randomMac() };
    return [createVeth({ name, mtu, group: this.#group, peer }), setLink({ name: peer.name }, { up: true })];
  }

  async #tagged(name: string): Promise<NetlinkRequest> {
    const [, trunkName, tag] = /^(.+)\.(\d{1,4})$/.exec(name) ?? [];
    const trunk = trunkName === undefined ? undefined : await this.#find(trunkName);
    const vlanId = Number(tag);
    if (!trunk || vlanId < 1 || vlanId > 4094) {
      throw new NetworkError('NOT_FOUND', `the host has no interface ${name} to be the parent of a network`);
    }
    return createVlan({ name, parent: trunk.index, vlanId, group: this.#group });
  }

  async #find(name: string): Promise<Link | undefined> {
    try {
      const [message] = await this.#connect().ask(getLink({ name }));
      return message && decodeLink(message);
    } catch (error) {
      if (NetdriverError.is(error) && error.code === 'ENODEV') return undefined;
      throw error;
    }
  }

  #connect(): NetlinkConnection {
    this.#connection ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'route' }));
    return this.#connection;
  }
}
