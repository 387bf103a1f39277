/**
 * The bridge driver: each network is a Linux bridge, each endpoint a veth pair between it and a sandbox, and a packet
 * filter decides what passes. Everything goes through netlink; nothing is executed and nothing is written to disk.
 */

import type { AddressBook } from './address-book.ts';
import { parseCidr } from './address-range.ts';
import type { BridgeNetworkConfig } from './bridge-config.ts';
import {
  adoptEndpoint,
  attachEndpoint,
  detachEndpoint,
  firewallEndpoint,
  setEndpointRoute,
  type EndpointTools,
} from './bridge-endpoint.ts';
import { BridgeLinks } from './bridge-links.ts';
import {
  firewallNetwork,
  openNetwork,
  sameConfig,
  type Attachment,
  type BridgeNetwork,
  type HostPolicy,
} from './bridge-network.ts';
import type {
  DefaultRoute,
  Endpoint,
  EndpointConfig,
  IntendedEndpoint,
  Network,
  NetworkDriver,
  PortMapping,
  PublishedPort,
} from './driver.ts';
import { publishPorts, unpublishPorts } from './endpoint-ports.ts';
import { createNftablesFirewall } from './firewall-nftables.ts';
import type { Firewall, FirewallState } from './firewall.ts';
import { hostPools } from './host-pools.ts';
import { configured, type AddressPool } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { nativeKernel } from './native-kernel.ts';
import type { Link } from './netlink/link.ts';
import { endpointKey, NetworkTable, reportFailures } from './network-table.ts';
import { settleAll } from './operation-order.ts';
import { PortAllocator } from './port-allocator.ts';

/** Options of {@link createBridgeDriver}. */
export interface BridgeDriverOptions {
  /**
   * Tells the drivers of one host apart: names the nf_tables table and marks the links. Default `tare`. A driver takes
   * over whatever an earlier one of the same name left, so two must not run at once.
   */
  name?: string;
  /**
   * Where subnets come from when a network names none, of either family. Default: Docker's for IPv4, see
   * {@link DEFAULT_POOLS}, and unique local ones of this machine for IPv6.
   */
  pools?: readonly AddressPool[];
  /** Subnets that must not be chosen beside those that the host has routes to, for example of a VPN that is down. */
  reservedSubnets?: readonly string[];
  /**
   * `enable` turns forwarding of the host on when it is off, in the families that networks have, without which no
   * container reaches anything; `leave` never touches it. Default `enable`.
   */
  ipForward?: 'enable' | 'leave';
  /**
   * Forward in this process where the kernel cannot translate: from an IPv6 address of the host to an endpoint that has
   * IPv4 alone, or the other way, and from ::1 where bridged packets are filtered. Such connections end with the
   * process, and the container sees the host's address. Default true.
   */
  userlandProxy?: boolean;
  /** Where processes that share subnets write down what they take. The caller closes it. Default: nowhere. */
  addressBook?: AddressBook;
  /** Default: nf_tables. The driver owns it. */
  firewall?: Firewall;
  /** Default: `@tare/runtime-native`. */
  kernel?: NetworkKernel;
}

/**
 * A network driver that holds sockets: netlink connections, and a bound socket for each published port. Disposing lets
 * go of them and leaves the networks standing; `reconcile` of a new driver takes them up again.
 */
export interface BridgeDriver extends NetworkDriver<BridgeNetworkConfig>, AsyncDisposable {}

/** Makes a driver. It touches nothing before its first call; after a crash that should be `reconcile`. */
export function createBridgeDriver(options: BridgeDriverOptions = {}): BridgeDriver {
  return new KernelBridgeDriver(options);
}

type Intended = Parameters<BridgeDriver['reconcile']>[0];

class KernelBridgeDriver implements BridgeDriver {
  readonly #tools: EndpointTools;
  readonly #policy: HostPolicy;
  readonly #table = new NetworkTable<Attachment, BridgeNetwork>();

  constructor(options: BridgeDriverOptions) {
    const { name = 'tare', reservedSubnets = [], ipForward = 'enable', userlandProxy = true } = options;
    const kernel = options.kernel ?? nativeKernel();
    const firewall = options.firewall ?? createNftablesFirewall({ kernel, tableName: name });
    const links = new BridgeLinks(kernel, name);
    this.#tools = { kernel, links, firewall, ports: new PortAllocator(kernel), userlandProxy };
    const reserved = reservedSubnets.map((text) =>
      configured('reserved subnet', () => parseCidr(text).range),
    );
    this.#policy = { pools: options.pools ?? hostPools(), reserved, ipForward, book: options.addressBook };
  }

  async createNetwork(config: BridgeNetworkConfig, options?: { signal?: AbortSignal }): Promise<Network> {
    const open = async (): Promise<BridgeNetwork> => {
      const opened = await this.#open(config);
      try {
        await this.#tools.firewall.addNetwork(firewallNetwork(opened));
      } catch (error) {
        await this.#removeBridge(opened);
        throw error;
      }
      return opened;
    };
    return await this.#table.create(config, (known) => sameConfig(known, config), open, options?.signal);
  }

  async #open(config: BridgeNetworkConfig): Promise<BridgeNetwork> {
    return await openNetwork(config, this.#tools.links, this.#policy, this.#table.all());
  }

  async removeNetwork(networkId: string): Promise<void> {
    await this.#table.remove(networkId, async (network) => {
      await this.#tools.firewall.removeNetwork(network.settings.bridgeName);
      await this.#removeBridge(network);
    });
  }

  async attach(
    networkId: string,
    config: EndpointConfig,
    options?: { signal?: AbortSignal },
  ): Promise<Endpoint> {
    const { signal } = options ?? {};
    const make = (network: BridgeNetwork): Promise<Attachment> =>
      attachEndpoint(this.#tools, network, config, signal);
    return recordOf(await this.#table.attach(networkId, config.id, make, signal));
  }

  async detach(networkId: string, endpointId: string): Promise<void> {
    await this.#table.detach(networkId, endpointId, (network, attachment) =>
      detachEndpoint(this.#tools, network, attachment),
    );
  }

  async setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint> {
    return await this.#table.on(networkId, endpointId, async (network, attachment) => {
      await setEndpointRoute(this.#tools, network, attachment, route);
      return recordOf(attachment);
    });
  }

  async publish(
    networkId: string,
    endpointId: string,
    ports: readonly PortMapping[],
  ): Promise<PublishedPort[]> {
    return await this.#table.on(networkId, endpointId, (network, attachment) =>
      publishPorts(this.#tools, network, attachment, ports),
    );
  }

  async unpublish(networkId: string, endpointId: string, ports: readonly PublishedPort[]): Promise<void> {
    await this.#table.on(networkId, endpointId, (network, attachment) =>
      unpublishPorts(this.#tools, network, attachment, ports),
    );
  }

  async networks(): Promise<Network[]> {
    return Array.from(this.#table.all(), ({ network }) => network);
  }

  async endpoints(networkId: string): Promise<Endpoint[]> {
    return Array.from(this.#table.get(networkId)?.endpoints.values() ?? [], recordOf);
  }

  async reconcile(intended: Intended): Promise<void> {
    await this.#table.exclusively(async () => {
      const before = this.#table.attachments();
      this.#table.clear();
      const failures = await this.#refill(intended, before);
      for (const { held } of before.values()) held.release();
      await this.#tools.firewall.replace(this.#firewallState());
      await this.#sweep(intended);
      this.#correctBook(intended.endpoints);
      reportFailures(failures);
    });
  }

  async destroy(): Promise<void> {
    await this.#table.exclusively(async () => {
      const { firewall, links } = this.#tools;
      const attachments = this.#table.attachments();
      this.#table.clear();
      try {
        await settleAll('removing the networks', [firewall.destroy(), links.deleteAll()]);
      } finally {
        await this.#letGo(attachments);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#table.exclusively(async () => {
      await this.#letGo(this.#table.attachments());
    });
  }

  /** Takes from `before` what goes on being held. @returns what failed */
  async #refill({ networks, endpoints }: Intended, before: Map<string, Attachment>): Promise<unknown[]> {
    // those that name their subnets first, so that the others choose around them
    const ordered = [...networks].sort((a, b) => Number(!a.subnets?.length) - Number(!b.subnets?.length));
    let linkByName: Map<string, Link> | undefined;
    const alone: unknown[] = [];
    const failures = await this.#table.refill(
      { networks: ordered, endpoints },
      (config) => this.#open(config),
      async (network, { networkId, endpoint, sandbox }) => {
        linkByName ??= new Map((await this.#ownLinks()).map((link) => [link.name, link]));
        const key = endpointKey(networkId, endpoint.id);
        const found = {
          link: linkByName.get(endpoint.hostInterfaceName),
          held: before.get(key)?.held,
        };
        const adopted = await adoptEndpoint(this.#tools, network, { endpoint, sandbox }, found, alone);
        if (adopted) before.delete(key);
        return adopted;
      },
    );
    return [...failures, ...alone];
  }

  async #ownLinks(): Promise<Link[]> {
    const { links } = this.#tools;
    return (await links.list()).filter((link) => links.isOurs(link));
  }

  /** Removes links of ours that nobody intends. */
  async #sweep({ networks, endpoints }: Intended): Promise<void> {
    const { links } = this.#tools;
    // by name, not by success: what could not be restored now may be the next time
    const wanted = new Set(networks.map(({ bridgeName }) => bridgeName));
    for (const { networkId, endpoint } of endpoints) {
      const network = this.#table.get(networkId);
      if (!network || network.endpoints.has(endpoint.id)) wanted.add(endpoint.hostInterfaceName);
    }
    await links.bury((await this.#ownLinks()).filter(({ name }) => !wanted.has(name)));
    await links.sweep();
  }

  async #removeBridge({ settings, bridgeIndex, network }: BridgeNetwork): Promise<void> {
    await this.#tools.links.removeBridge({ networkId: settings.id, index: bridgeIndex, network });
    this.#policy.book?.forget(settings.id);
  }

  /** Addresses that a process took and died before it told anybody. */
  #correctBook(endpoints: readonly IntendedEndpoint[]): void {
    for (const { network } of this.#table.all()) {
      const owners = endpoints.filter(({ networkId }) => networkId === network.id);
      this.#policy.book?.retain(network.id, new Set(owners.map(({ endpoint }) => endpoint.id)));
    }
  }

  #firewallState(): FirewallState {
    const networks = [...this.#table.all()];
    return {
      networks: networks.map((network) => firewallNetwork(network)),
      endpoints: networks.flatMap((network) =>
        Array.from(network.endpoints.values(), ({ endpoint }) => firewallEndpoint(network, endpoint)),
      ),
    };
  }

  async #letGo(attachments: ReadonlyMap<string, Attachment>): Promise<void> {
    for (const { held } of attachments.values()) held.release();
    this.#tools.firewall.close();
    await this.#tools.links.close();
  }
}

/** The endpoint as it is now: what it publishes may change. */
function recordOf({ endpoint }: Attachment): Endpoint {
  return { ...endpoint, ports: [...endpoint.ports] };
}
