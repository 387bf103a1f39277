/** What the macvlan and ipvlan drivers share: networks on the wire of a parent, and sandboxes that are put on it. */

import { checkCommon, checkInterfaceName } from './bridge-config.ts';
import { randomMac } from './bridge-links.ts';
import type { AddressBook } from './address-book.ts';
import type {
  DefaultRoute,
  Endpoint,
  EndpointConfig,
  IntendedEndpoint,
  Network,
  NetworkConfig,
  NetworkDriver,
  PortMapping,
  PublishedPort,
} from './driver.ts';
import {
  addressesOf,
  describeAddresses,
  gatewaysOf,
  giveBack,
  spaceOf,
  takeAddresses,
  withPrefix,
  type AddressedNetwork,
} from './endpoint-addresses.ts';
import { NetdriverError, NetworkError } from './errors.ts';
import { hostPools } from './host-pools.ts';
import { configured, type AddressPool } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { nativeKernel } from './native-kernel.ts';
import { deleteLink, macBytes, type Link } from './netlink/link.ts';
import type { NetlinkRequest } from './netlink/message.ts';
import { OperationOrder, Rollback } from './operation-order.ts';
import { familyOf } from './ports.ts';
import { Sandbox } from './sandbox.ts';
import { planSubnets, subnetRanges } from './subnet-plan.ts';
import { VlanParents } from './vlan-parent.ts';

/** What networks of both drivers are made with. */
export interface VlanNetworkConfig extends NetworkConfig {
  /**
   * Interface of the host; `eth0.7` is made when it is not there. Without one the network leads nowhere, and is
   * internal.
   */
  parent?: string;
}

/** Options of `createMacvlanDriver` and `createIpvlanDriver`. */
export interface VlanDriverOptions {
  /** Tells the drivers of one host apart. Default `tare`. */
  name?: string;
  /** See `BridgeDriverOptions`. */
  pools?: readonly AddressPool[];
  addressBook?: AddressBook;
  kernel?: NetworkKernel;
}

/** What tells the two drivers apart. */
export interface VlanKind<Config> {
  check(config: Config): void;
  link(
    config: Config,
    link: { name: string; parent: number; namespaceFd: number; macAddress: string; mtu?: number },
  ): NetlinkRequest;
  /** Whether endpoints have no gateway but a route to their link. */
  routed(config: Config): boolean;
}

interface Attachment {
  endpoint: Endpoint;
  readonly sandbox: string;
}

interface OpenNetwork<Config> extends AddressedNetwork {
  readonly config: Config;
  readonly parent: Link;
  readonly endpoints: Map<string, Attachment>;
  pending: number;
}

/** Networks of one kind. It touches nothing before its first call. */
export class VlanDriver<Config extends VlanNetworkConfig> implements NetworkDriver<Config>, AsyncDisposable {
  readonly #kindName: string;
  readonly #kind: VlanKind<Config>;
  readonly #kernel: NetworkKernel;
  readonly #parents: VlanParents;
  readonly #pools: readonly AddressPool[];
  readonly #book: AddressBook | undefined;
  readonly #order = new OperationOrder();
  #networks = new Map<string, OpenNetwork<Config>>();

  constructor(kindName: string, options: VlanDriverOptions, kind: VlanKind<Config>) {
    this.#kindName = kindName;
    this.#kind = kind;
    this.#kernel = options.kernel ?? nativeKernel();
    this.#parents = new VlanParents(this.#kernel, `${kindName} ${options.name ?? 'tare'}`);
    this.#pools = options.pools ?? hostPools();
    this.#book = options.addressBook;
  }

  async createNetwork(config: Config, options?: { signal?: AbortSignal }): Promise<Network> {
    return await this.#order.run('networks', async () => {
      options?.signal?.throwIfAborted();
      const known = this.#networks.get(config.id);
      if (known) {
        if (JSON.stringify(known.config) === JSON.stringify(config)) return known.network;
        throw new NetworkError(
          'ALREADY_EXISTS',
          `network ${config.id} exists with other settings; remove it first`,
        );
      }
      const opened = await this.#open(config);
      this.#networks.set(config.id, opened);
      return opened.network;
    });
  }

  async #open(config: Config): Promise<OpenNetwork<Config>> {
    const { id, parent: parentName, ipv4 = true, ipv6 = false } = config;
    checkCommon({ id, ipv4, ipv6, mtu: config.mtu ?? 1500 });
    this.#kind.check(config);
    const user = [...this.#networks.values()].find(({ parent }) => parent.name === parentName);
    if (user) {
      throw new NetworkError(
        'ALREADY_EXISTS',
        `network ${user.network.id} is already using parent interface ${parentName}`,
      );
    }
    const parent = await this.#parents.open(id, parentName, config.mtu);
    try {
      const routed = this.#kind.routed(config);
      const plan = await planSubnets(
        { ...config, ipv4, ipv6 },
        this.#parents,
        { pools: this.#pools, reserved: [], book: this.#book },
        {
          others: Array.from(this.#networks.values(), ({ network }) => network),
          standing: [],
          // the subnet of the wire is the very one that is wanted
          standingIndex: parent.index,
          gatewayless: () => routed,
        },
      );
      const taken = this.#book?.claim(id, subnetRanges(plan.subnets));
      if (taken) {
        throw new NetworkError(
          'ADDRESS_OVERLAP',
          `network ${id} overlaps ${taken.subnet} of network ${taken.networkId}`,
        );
      }
      const internal = config.internal ?? parentName === undefined;
      const mtu = config.mtu ?? parent.mtu ?? 1500;
      return {
        config,
        network: { id, linkName: parent.name, subnets: plan.subnets, mtu, internal },
        parent,
        addresses4: plan.addresses4,
        addresses6: plan.addresses6,
        endpoints: new Map(),
        pending: 0,
      };
    } catch (error) {
      await this.#parents.close(parent.name);
      throw error;
    }
  }

  async removeNetwork(networkId: string): Promise<void> {
    await this.#order.run('networks', async () => {
      const network = this.#networks.get(networkId);
      if (!network) return;
      const count = network.endpoints.size + network.pending;
      if (count > 0) {
        throw new NetworkError('IN_USE', `network ${networkId} has ${count} endpoints; detach them first`);
      }
      this.#networks.delete(networkId);
      try {
        await this.#parents.close(network.parent.name);
      } catch (error) {
        this.#networks.set(networkId, network);
        throw error;
      }
      this.#book?.forget(networkId);
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
      if (config.ports?.length) throw this.#noPorts();
      network.pending++;
      try {
        const endpoint = await this.#attach(network, config);
        network.endpoints.set(config.id, { endpoint, sandbox: config.sandbox });
        return endpoint;
      } finally {
        network.pending--;
      }
    });
  }

  async #attach(network: OpenNetwork<Config>, config: EndpointConfig): Promise<Endpoint> {
    const { interfaceName = 'eth0', macAddress = randomMac(), sysctls = {} } = config;
    checkInterfaceName(interfaceName);
    configured(`endpoint ${config.id}`, () => macBytes(macAddress));
    const rollback = new Rollback();
    try {
      const [ipv4, ipv6] = takeAddresses(network, config);
      rollback.defer(() => giveBack(network, [ipv4, ipv6]));
      const endpoint: Endpoint = {
        id: config.id,
        networkId: network.network.id,
        interfaceName,
        hostInterfaceName: '',
        macAddress:
          this.#kindName === 'ipvlan' ? (network.parent.macAddress ?? '') : macAddress.toLowerCase(),
        ...(ipv4 ? { ipv4Address: withPrefix(ipv4) } : {}),
        ...(ipv6 ? { ipv6Address: withPrefix(ipv6) } : {}),
        ...gatewaysOf(network, config.defaultRoute ?? true, ipv4, ipv6),
        ports: [],
      };
      using sandbox = await Sandbox.open(this.#kernel, config.sandbox);
      await this.#connect(network, endpoint, sandbox);
      rollback.defer(() => sandbox.send([deleteLink({ name: interfaceName })], { ignore: ['ENODEV'] }));
      await this.#configure(network, endpoint, sandbox, config.defaultRoute ?? true, sysctls);
      return endpoint;
    } catch (error) {
      throw await rollback.run(error);
    }
  }

  async #connect(
    network: OpenNetwork<Config>,
    { interfaceName, macAddress }: Endpoint,
    sandbox: Sandbox,
  ): Promise<void> {
    const { config, parent } = network;
    await this.#parents.send([
      this.#kind.link(config, {
        name: interfaceName,
        parent: parent.index,
        namespaceFd: sandbox.fd,
        macAddress,
        ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
      }),
    ]);
  }

  async #configure(
    { config, network }: OpenNetwork<Config>,
    endpoint: Endpoint,
    sandbox: Sandbox,
    route: DefaultRoute,
    sysctls: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { interfaceName, gateway, gateway6 } = endpoint;
    const addresses = addressesOf(endpoint);
    const wants = typeof route === 'boolean' ? { ipv4: route, ipv6: route } : route;
    const linkRoutes =
      this.#kind.routed(config) && !network.internal
        ? addresses
            .map(({ address }) => familyOf(address))
            .filter((family) => (family === 4 ? wants.ipv4 : wants.ipv6))
        : [];
    const gateways = [gateway, gateway6].filter((text) => text !== undefined);
    await sandbox.configure({ interfaceName, addresses, gateways, linkRoutes, sysctls });
    await sandbox.reachable(addresses);
    if (this.#kindName === 'macvlan') await sandbox.announce(interfaceName, endpoint.macAddress);
  }

  async detach(networkId: string, endpointId: string): Promise<void> {
    await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) return;
      await this.#remove(attachment);
      for (const { address } of addressesOf(attachment.endpoint)) spaceOf(network, address)?.release(address);
      network.endpoints.delete(endpointId);
    });
  }

  async #remove({ endpoint, sandbox: path }: Attachment): Promise<void> {
    using sandbox = await this.#openStanding(path);
    await sandbox?.send([deleteLink({ name: endpoint.interfaceName })], { ignore: ['ENODEV'] });
  }

  async setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint> {
    return await this.#order.run(endpointKey(networkId, endpointId), async () => {
      const network = this.#networks.get(networkId);
      const attachment = network?.endpoints.get(endpointId);
      if (!network || !attachment) {
        throw new NetworkError('NOT_FOUND', `endpoint ${endpointId} is not attached to network ${networkId}`);
      }
      const { gateway: _, gateway6: __, ...rest } = attachment.endpoint;
      const [ipv4, ipv6] = describeAddresses(network, rest);
      const wanted = gatewaysOf(network, route, ipv4, ipv6);
      using sandbox = await Sandbox.open(this.#kernel, attachment.sandbox, { ready: false });
      await sandbox.setDefaultRoutes(rest.interfaceName, [
        ...(ipv4 ? [{ family: 4 as const, gateway: wanted.gateway }] : []),
        ...(ipv6 ? [{ family: 6 as const, gateway: wanted.gateway6 }] : []),
      ]);
      attachment.endpoint = { ...rest, ...wanted, ports: [] };
      return attachment.endpoint;
    });
  }

  async publish(
    _network: string,
    _endpoint: string,
    ports: readonly PortMapping[],
  ): Promise<PublishedPort[]> {
    if (ports.length > 0) throw this.#noPorts();
    return await Promise.resolve([]);
  }

  async unpublish(): Promise<void> {
    await Promise.resolve();
  }

  async networks(): Promise<Network[]> {
    return await Promise.resolve(Array.from(this.#networks.values(), ({ network }) => network));
  }

  async endpoints(networkId: string): Promise<Endpoint[]> {
    const endpoints = this.#networks.get(networkId)?.endpoints.values() ?? [];
    return await Promise.resolve(Array.from(endpoints, ({ endpoint }) => endpoint));
  }

  async reconcile(intended: {
    networks: readonly Config[];
    endpoints: readonly IntendedEndpoint[];
  }): Promise<void> {
    await this.#order.exclusively(async () => {
      const failures: unknown[] = [];
      const before = [...this.#networks.values()].flatMap(({ endpoints }) => [...endpoints.values()]);
      this.#networks = new Map();
      for (const config of intended.networks) {
        try {
          this.#networks.set(config.id, await this.#open(config));
        } catch (error) {
          failures.push(error);
        }
      }
      for (const wanted of intended.endpoints) {
        try {
          await this.#adopt(wanted);
        } catch (error) {
          failures.push(error);
        }
      }
      const kept = new Set(intended.endpoints.map(({ endpoint }) => endpoint.id));
      for (const attachment of before) if (!kept.has(attachment.endpoint.id)) await this.#remove(attachment);
      await this.#parents.sweep(new Set(Array.from(this.#networks.values(), ({ parent }) => parent.name)));
      for (const networkId of this.#networks.keys()) this.#book?.retain(networkId, kept);
      if (failures.length > 0) {
        throw new NetworkError(
          'RECONCILE_INCOMPLETE',
          `${failures.length} networks or endpoints could not be restored: ${failures.map(String).join('; ')}`,
          { errors: failures, cause: failures[0] },
        );
      }
    });
  }

  async #adopt({ networkId, endpoint, sandbox: path }: IntendedEndpoint): Promise<void> {
    const network = this.#networks.get(networkId);
    if (!network) throw new NetworkError('NOT_FOUND', `endpoint ${endpoint.id} has no network ${networkId}`);
    using sandbox = await this.#openStanding(path);
    if (!sandbox) return;
    for (const { address } of addressesOf(endpoint))
      spaceOf(network, address)?.allocate(address, endpoint.id);
    if (!(await sandbox.find(endpoint.interfaceName))) {
      await this.#connect(network, endpoint, sandbox);
      const route = { ipv4: endpoint.gateway !== undefined, ipv6: endpoint.gateway6 !== undefined };
      await this.#configure(network, endpoint, sandbox, this.#kind.routed(network.config) || route, {});
    }
    network.endpoints.set(endpoint.id, { endpoint, sandbox: path });
  }

  async #openStanding(path: string): Promise<Sandbox | undefined> {
    try {
      return await Sandbox.open(this.#kernel, path);
    } catch (error) {
      if (NetdriverError.is(error) && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  async destroy(): Promise<void> {
    await this.#order.exclusively(async () => {
      for (const { endpoints } of this.#networks.values()) {
        for (const attachment of endpoints.values()) await this.#remove(attachment);
      }
      this.#networks = new Map();
      await this.#parents.sweep(new Set());
      this.#parents.closeSockets();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#order.exclusively(() => Promise.resolve(this.#parents.closeSockets()));
  }

  #noPorts(): NetworkError {
    return new NetworkError(
      'UNSUPPORTED',
      `ports of ${this.#kindName} networks are not published: endpoints are reached at their own addresses`,
    );
  }
}

function endpointKey(networkId: string, endpointId: string): string {
  return JSON.stringify([networkId, endpointId]);
}
