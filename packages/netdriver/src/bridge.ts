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
import { NetworkError } from './errors.ts';
import { createNftablesFirewall } from './firewall-nftables.ts';
import type { Firewall, FirewallState } from './firewall.ts';
import { hostPools } from './host-pools.ts';
import { configured, type AddressPool } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { nativeKernel } from './native-kernel.ts';
import { OperationOrder, settleAll } from './operation-order.ts';
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
  readonly #order = new OperationOrder();
  #networks = new Map<string, BridgeNetwork>();

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
    return await this.#order.run('networks', async () => {
      options?.signal?.throwIfAborted();
      const known = this.#networks.get(config.id);
      if (known) {
        if (sameConfig(known.config, config)) return known.network;
        throw new NetworkError(
          'ALREADY_EXISTS',
          `network ${config.id} exists with other settings; remove it first`,
        );
      }
      const { links, firewall } = this.#tools;
      const opened = await openNetwork(config, links, this.#policy, this.#networks.values());
      try {
        await firewall.addNetwork(firewallNetwork(opened));
      } catch (error) {
        await this.#removeBridge(opened);
        throw error;
      }
      this.#networks.set(config.id, opened);
      return opened.network;
    });
  }

  async removeNetwork(networkId: string): Promise<void> {
    await this.#order.run('networks', async () => {
      const network = this.#networks.get(networkId);
      if (!network) return;
      const count = network.endpoints.size + network.pending;
      if (count > 0) {
        throw new NetworkError('IN_USE', `network ${networkId} has ${count} endpoints; detach them first`);
      }
      // before the first await, so that nobody attaches to it any more
      this.#networks.delete(networkId);
      try {
        await this.#tools.firewall.removeNetwork(network.settings.bridgeName);
        await this.#removeBridge(network);
      } catch (error) {
        this.#networks.set(networkId, network);
        throw error;
      }
    });
  }

  async attach(
    networkId: string,
    config: EndpointConfig,
    options?: { signal?: AbortSignal },
  ): Promise<Endpoint> {
    return await this.#order.run(endpointKey(networkId, config.id), async () => {
      options?.signal?.throwIfAborted();
      const network = this.#networks.get(networkId);
      if (!network) throw new NetworkError('NOT_FOUND', `there is no network ${networkId} to attach to`);
      if (network.endpoints.has(config.id)) {
        throw new NetworkError(
          'ALREADY_EXISTS',
          `endpoint ${config.id} is attached to network ${networkId} already`,
        );
      }
      network.pending++;
      try {
        const attachment = await attachEndpoint(this.#tools, network, config, options?.signal);
        network.endpoints.set(config.id, attachment);
        return recordOf(attachment);
      } finally {
        network.pending--;
      }
    });
  }

  async detach(networkId: string, endpointId: string): Promise<void> {
    await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) return;
      await detachEndpoint(this.#tools, network, attachment);
      network.endpoints.delete(endpointId);
    });
  }

  async setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint> {
    return await this.#onEndpoint(networkId, endpointId, async (network, attachment) => {
      await setEndpointRoute(this.#tools, network, attachment, route);
      return recordOf(attachment);
    });
  }

  async publish(
    networkId: string,
    endpointId: string,
    ports: readonly PortMapping[],
  ): Promise<PublishedPort[]> {
    return await this.#onEndpoint(networkId, endpointId, (network, attachment) =>
      publishPorts(this.#tools, network, attachment, ports),
    );
  }

  async unpublish(networkId: string, endpointId: string, ports: readonly PublishedPort[]): Promise<void> {
    await this.#onEndpoint(networkId, endpointId, (network, attachment) =>
      unpublishPorts(this.#tools, network, attachment, ports),
    );
  }

  async #onEndpoint<T>(
    networkId: string,
    endpointId: string,
    run: (network: BridgeNetwork, attachment: Attachment) => Promise<T>,
  ): Promise<T> {
    return await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) {
        throw new NetworkError('NOT_FOUND', `endpoint ${endpointId} is not attached to network ${networkId}`);
      }
      return await run(network, attachment);
    });
  }

  async networks(): Promise<Network[]> {
    return [...this.#networks.values()].map(({ network }) => network);
  }

  async endpoints(networkId: string): Promise<Endpoint[]> {
    const network = this.#networks.get(networkId);
    return network ? [...network.endpoints.values()].map(recordOf) : [];
  }

  async reconcile(intended: Intended): Promise<void> {
    await this.#order.exclusively(async () => {
      const failures: unknown[] = [];
      const before = this.#attachments();
      this.#networks = new Map();
      await this.#reopen(intended, failures);
      await this.#readopt(intended, before, failures);
      for (const { held } of before.values()) held.release();
      await this.#tools.firewall.replace(this.#firewallState());
      await this.#sweep(intended);
      this.#correctBook(intended.endpoints);
      if (failures.length > 0) {
        throw new NetworkError(
          'RECONCILE_INCOMPLETE',
          `${failures.length} networks, endpoints or ports could not be restored: ${failures.map(String).join('; ')}`,
          { errors: failures, cause: failures[0] },
        );
      }
    });
  }

  async destroy(): Promise<void> {
    await this.#order.exclusively(async () => {
      const { firewall, links } = this.#tools;
      const attachments = this.#attachments();
      this.#networks = new Map();
      try {
        await settleAll('removing the networks', [firewall.destroy(), links.deleteAll()]);
      } finally {
        await this.#letGo(attachments);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#order.exclusively(async () => {
      await this.#letGo(this.#attachments());
    });
  }

  async #reopen({ networks }: Intended, failures: unknown[]): Promise<void> {
    // those that name their subnets first, so that the others choose around them
    const configs = [...networks].sort((a, b) => Number(!a.subnets?.length) - Number(!b.subnets?.length));
    for (const config of configs) {
      try {
        const others = this.#networks.values();
        this.#networks.set(config.id, await openNetwork(config, this.#tools.links, this.#policy, others));
      } catch (error) {
        failures.push(error);
      }
    }
  }

  /** Takes from `before` what goes on being held. */
  async #readopt(
    { endpoints }: Intended,
    before: Map<string, Attachment>,
    failures: unknown[],
  ): Promise<void> {
    const { links } = this.#tools;
    const ours = (await links.list()).filter((link) => links.isOurs(link));
    const linkByName = new Map(ours.map((link) => [link.name, link]));
    for (const { networkId, endpoint, sandbox } of endpoints) {
      try {
        const network = this.#networks.get(networkId);
        if (!network)
          throw new NetworkError('NOT_FOUND', `endpoint ${endpoint.id} has no network ${networkId}`);
        const key = endpointKey(networkId, endpoint.id);
        const held = before.get(key)?.held;
        const link = linkByName.get(endpoint.hostInterfaceName);
        const adopted = await adoptEndpoint(
          this.#tools,
          network,
          { endpoint, sandbox },
          { link, held },
          failures,
        );
        if (!adopted) continue;
        network.endpoints.set(endpoint.id, adopted);
        before.delete(key);
      } catch (error) {
        failures.push(error);
      }
    }
  }

  /** Removes links of ours that nobody intends. */
  async #sweep({ networks, endpoints }: Intended): Promise<void> {
    const { links } = this.#tools;
    // by name, not by success: what could not be restored now may be the next time
    const wanted = new Set(networks.map(({ bridgeName }) => bridgeName));
    for (const { networkId, endpoint } of endpoints) {
      const network = this.#networks.get(networkId);
      if (!network || network.endpoints.has(endpoint.id)) wanted.add(endpoint.hostInterfaceName);
    }
    const ours = (await links.list()).filter((link) => links.isOurs(link));
    await links.bury(ours.filter(({ name }) => !wanted.has(name)));
    await links.sweep();
  }

  async #removeBridge({ settings, bridgeIndex, network }: BridgeNetwork): Promise<void> {
    await this.#tools.links.removeBridge({ networkId: settings.id, index: bridgeIndex, network });
    this.#policy.book?.forget(settings.id);
  }

  /** Addresses that a process took and died before it told anybody. */
  #correctBook(endpoints: readonly IntendedEndpoint[]): void {
    for (const networkId of this.#networks.keys()) {
      const owners = endpoints.filter((intended) => intended.networkId === networkId);
      this.#policy.book?.retain(networkId, new Set(owners.map(({ endpoint }) => endpoint.id)));
    }
  }

  #attachments(): Map<string, Attachment> {
    const all = new Map<string, Attachment>();
    for (const { settings, endpoints } of this.#networks.values()) {
      for (const [id, attachment] of endpoints) all.set(endpointKey(settings.id, id), attachment);
    }
    return all;
  }

  #firewallState(): FirewallState {
    const networks = [...this.#networks.values()];
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

function endpointKey(networkId: string, endpointId: string): string {
  return JSON.stringify([networkId, endpointId]);
}
