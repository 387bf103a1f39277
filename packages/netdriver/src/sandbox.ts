/** The inside of a sandbox: its loopback, the address and the routes of an interface. */

import { closeSync } from 'node:fs';

import { NetworkError } from './errors.ts';
import type { NetworkKernel } from './kernel.ts';
import { addAddress } from './netlink/address.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import { decodeLink, getLink, setLink } from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { addRoute } from './netlink/route.ts';

/** `lo` is the first interface of every namespace. */
const LOOPBACK_INDEX = 1;

/**
 * Set before the interface exists, which takes them over at its birth. A network without IPv6 must not have it by
 * accident: a neighbour's router advertisement would become a way around every rule (CVE-2024-32473, CVE-2020-13401).
 */
const INTERFACE_DEFAULTS = {
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv6/conf/default/disable_ipv6': '1',
  // see announce()
  'net/ipv4/conf/default/arp_notify': '1',
} as const;

/** An open network namespace. Whoever opens it disposes of it. */
export class Sandbox implements Disposable {
  /** For requests that put a link into the namespace. */
  readonly fd: number;
  readonly #connection: NetlinkConnection;

  private constructor(fd: number, connection: NetlinkConnection) {
    this.fd = fd;
    this.#connection = connection;
  }

  /**
   * Opens the namespace and readies it for interfaces that have IPv4 alone.
   *
   * @throws {NetworkError} `NOT_FOUND` when no namespace is bound to `path`
   */
  static async open(kernel: NetworkKernel, path: string): Promise<Sandbox> {
    let fd: number;
    try {
      fd = kernel.openNetworkNamespace(path);
    } catch (cause) {
      throw new NetworkError('NOT_FOUND', `sandbox ${path} is not a network namespace`, { cause });
    }
    try {
      await kernel.writeSysctls(fd, INTERFACE_DEFAULTS);
      return new Sandbox(fd, new NetlinkConnection(kernel.openNetlink({ protocol: 'route', netns: fd })));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  async bringUpLoopback(): Promise<void> {
    await this.#connection.send(setLink({ index: LOOPBACK_INDEX }, { up: true }));
  }

  /** Gives an interface its address, brings it up, and leads the default route through it. */
  async configure(options: {
    interfaceName: string;
    address: string;
    prefixLength: number;
    /** Default gateway, if this interface leads there. */
    gateway: string | undefined;
  }): Promise<void> {
    const { interfaceName, address, prefixLength, gateway } = options;
    const [answer] = await this.#connection.ask(getLink({ name: interfaceName }));
    const link = answer && decodeLink(answer);
    if (!link) throw new NetworkError('NOT_FOUND', `the sandbox has no interface ${interfaceName}`);
    const linkIndex = link.index;
    const requests: NetlinkRequest[] = [
      setLink({ index: LOOPBACK_INDEX }, { up: true }),
      addAddress({ linkIndex, address, prefixLength }),
      setLink({ index: linkIndex }, { up: true }),
    ];
    if (gateway !== undefined) requests.push(addRoute({ gateway, linkIndex }));
    await this.#connection.send(requests);
  }

  /**
   * Tells the neighbours whose address this now is. Without it, those who knew it at another MAC address, that of a
   * container before this one, would go on sending there for half a minute.
   */
  async announce(interfaceName: string, macAddress: string): Promise<void> {
    // setting the address that it has makes the kernel send a gratuitous ARP, with arp_notify
    await this.#connection.send(setLink({ name: interfaceName }, { macAddress }));
  }

  [Symbol.dispose](): void {
    this.#connection.close();
    closeSync(this.fd);
  }
}
