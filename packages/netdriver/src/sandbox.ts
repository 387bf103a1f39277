/** The inside of a sandbox: its loopback, the addresses and the routes of an interface. */

import { closeSync } from 'node:fs';

import { NetworkError, NetdriverError } from './errors.ts';
import type { NetworkKernel } from './kernel.ts';
import { addAddress } from './netlink/address.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import { AF } from './netlink/ip-address.ts';
import { decodeLink, getLink, setLink, type Link } from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import {
  addRoute,
  decodeRoute,
  deleteRoute,
  dumpRoutes,
  lookUpRoute,
  MAIN_TABLE,
  ROUTE_TYPE,
  type Route,
} from './netlink/route.ts';

/** `lo` is the first interface of every namespace. */
const LOOPBACK_INDEX = 1;

/**
 * Set before the interface exists, which takes them over at its birth. A network without IPv6 must not have it by
 * accident: a neighbour's router advertisement would become a way around every rule (CVE-2024-32473, CVE-2020-13401).
 */
const INTERFACE_DEFAULTS = {
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv6/conf/default/disable_ipv6': '1',
} as const;

/** A thousand times what it takes. */
const REACHABLE_TIMEOUT_MS = 2000;

/** How an interface is to be. */
export interface InterfaceOptions {
  interfaceName: string;
  addresses: readonly { address: string; prefixLength: number }[];
  /** Default gateways, of either family, if this interface leads there. */
  gateways: readonly string[];
  /** Families whose default route is the link itself. */
  linkRoutes?: readonly (4 | 6)[];
  sysctls?: Readonly<Record<string, string>>;
}

/** An open network namespace. Whoever opens it disposes of it. */
export class Sandbox implements Disposable {
  /** For requests that put a link into the namespace. */
  readonly fd: number;
  readonly #kernel: NetworkKernel;
  readonly #connection: NetlinkConnection;

  private constructor(fd: number, kernel: NetworkKernel) {
    this.fd = fd;
    this.#kernel = kernel;
    this.#connection = new NetlinkConnection(kernel.openNetlink({ protocol: 'route', netns: fd }));
  }

  /**
   * Opens the namespace and, unless it is to stay as it is, readies it for interfaces that have IPv4 alone.
   *
   * @throws {NetworkError} `NOT_FOUND` when no namespace is bound to `path`
   */
  static async open(
    kernel: NetworkKernel,
    path: string,
    { ready = true }: { ready?: boolean } = {},
  ): Promise<Sandbox> {
    let fd: number;
    try {
      fd = kernel.openNetworkNamespace(path);
    } catch (cause) {
      throw new NetworkError('NOT_FOUND', `sandbox ${path} is not a network namespace`, { cause });
    }
    try {
      if (ready) await kernel.writeSysctls(fd, INTERFACE_DEFAULTS);
      return new Sandbox(fd, kernel);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  async bringUpLoopback(): Promise<void> {
    await this.#connection.send(setLink({ index: LOOPBACK_INDEX }, { up: true }));
  }

  /** A link of the namespace by its name. */
  async find(name: string): Promise<Link | undefined> {
    try {
      const [answer] = await this.#connection.ask(getLink({ name }));
      return answer && decodeLink(answer);
    } catch (error) {
      if (NetdriverError.is(error) && error.code === 'ENODEV') return undefined;
      throw error;
    }
  }

  /** Sends requests that are this namespace's own. */
  async send(requests: readonly NetlinkRequest[], options?: { ignore?: readonly string[] }): Promise<void> {
    await this.#connection.send(requests, options);
  }

  /** Gives an interface its addresses, brings it up, and leads the default routes through it. */
  async configure(options: InterfaceOptions): Promise<void> {
    const { interfaceName, addresses, gateways, linkRoutes = [], sysctls = {} } = options;
    const link = await this.find(interfaceName);
    if (!link) throw new NetworkError('NOT_FOUND', `the sandbox has no interface ${interfaceName}`);
    const linkIndex = link.index;
    const ipv6 = addresses.some(({ address }) => address.includes(':'));
    const settings = {
      ...(ipv6 ? { [`net/ipv6/conf/${interfaceName}/disable_ipv6`]: '0' } : {}),
      ...sysctlPaths(sysctls, interfaceName),
    };
    if (Object.keys(settings).length > 0) await this.#kernel.writeSysctls(this.fd, settings);
    await this.#connection.send([
      setLink({ index: LOOPBACK_INDEX }, { up: true }),
      ...addresses.map((address) => addAddress({ linkIndex, ...address })),
      setLink({ index: linkIndex }, { up: true }),
      ...gateways.map((gateway) => addRoute({ gateway, linkIndex })),
      ...linkRoutes.map((family) => addRoute({ family: family === 4 ? AF.INET : AF.INET6, linkIndex })),
    ]);
  }

  /**
   * Resolves once what is sent to these addresses arrives. The kernel makes the routes of its own IPv6 addresses behind
   * the caller's back; an answer that comes before is lost, and asked for again only after a second.
   */
  async reachable(addresses: readonly { address: string }[], signal?: AbortSignal): Promise<void> {
    const deadline = performance.now() + REACHABLE_TIMEOUT_MS;
    for (const { address } of addresses) {
      if (!address.includes(':')) continue;
      while ((await this.#routeTo(address))?.type !== ROUTE_TYPE.LOCAL) {
        signal?.throwIfAborted();
        if (performance.now() > deadline) {
          throw new NetdriverError('NOT_FORWARDING', `${address} is set but the kernel makes no route to it`);
        }
      }
    }
  }

  async #routeTo(address: string): Promise<Route | undefined> {
    try {
      const [answer] = await this.#connection.ask(lookUpRoute(address));
      return answer && decodeRoute(answer);
    } catch (error) {
      if (NetdriverError.is(error) && error.code === 'ENETUNREACH') return undefined;
      throw error;
    }
  }

  /** Leads the default routes of these families through an interface, or no longer; any other default route of them goes. */
  async setDefaultRoutes(
    interfaceName: string,
    routes: readonly { family: 4 | 6; gateway: string | undefined }[],
  ): Promise<void> {
    const link = await this.find(interfaceName);
    if (!link) throw new NetworkError('NOT_FOUND', `the sandbox has no interface ${interfaceName}`);
    for (const { family, gateway } of routes) {
      const number = family === 4 ? AF.INET : AF.INET6;
      const present = (await this.#connection.ask(dumpRoutes(number))).flatMap((message) => {
        const route = decodeRoute(message);
        return route && !route.destination && route.table === MAIN_TABLE && route.linkIndex !== undefined
          ? [{ ...route, linkIndex: route.linkIndex }]
          : [];
      });
      // what is to go: every other one, or with no gateway this interface's own
      const stale = present.filter(({ linkIndex }) => gateway !== undefined || linkIndex === link.index);
      await this.#connection.send(
        [
          ...stale.map(({ linkIndex, gateway: via }) =>
            deleteRoute({ family: number, linkIndex, ...(via === undefined ? {} : { gateway: via }) }),
          ),
          ...(gateway === undefined ? [] : [addRoute({ gateway, linkIndex: link.index })]),
        ],
        { ignore: ['ESRCH'] },
      );
    }
  }

  /**
   * Tells the neighbours whose address this now is. Without it, those who knew it at another MAC address, that of a
   * container before this one, would go on sending there for half a minute.
   */
  async announce(interfaceName: string, macAddress: string): Promise<void> {
    await this.#kernel.writeSysctls(this.fd, {
      [`net/ipv4/conf/${interfaceName}/arp_notify`]: '1',
      [`net/ipv6/conf/${interfaceName}/ndisc_notify`]: '1',
    });
    // with these, setting the address that it has makes the kernel tell of it: a gratuitous ARP and its like
    await this.#connection.send(setLink({ name: interfaceName }, { macAddress }));
  }

  [Symbol.dispose](): void {
    this.#connection.close();
    closeSync(this.fd);
  }
}

/**
 * Names of settings as paths below /proc/sys, with IFNAME replaced. Only those of the network are allowed.
 *
 * @throws {NetworkError} `INVALID_CONFIG`
 */
export function sysctlPaths(
  sysctls: Readonly<Record<string, string>>,
  interfaceName: string,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sysctls).map(([name, value]) => {
      // the dots of an interface name are no separators, so it comes last
      const parts = name.includes('/') ? name.split('/') : name.split('.');
      if (parts[0] !== 'net' || !parts.every((part) => /^[\w-]+$/.test(part))) {
        throw new NetworkError(
          'INVALID_CONFIG',
          `"${name}" is not a network setting such as net.ipv4.conf.IFNAME.forwarding`,
        );
      }
      return [parts.map((part) => (part === 'IFNAME' ? interfaceName : part)).join('/'), value];
    }),
  );
}
