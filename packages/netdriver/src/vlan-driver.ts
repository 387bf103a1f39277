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
import { NetworkTable, reportFailures, type TableNetwork } from './network-table.ts';
import { Rollback } from './operation-order.ts';
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

interface OpenNetwork<Config> extends AddressedNetwork, TableNetwork<Attachment, Config> {
  readonly network: Network;
  readonly parent: Link;
}

/** Networks of one kind. It touches nothing before its first call. */
export class VlanDriver<Config extends VlanNetworkConfig> implements NetworkDriver<Config>, AsyncDisposable {
  readonly #kindName: string;
  readonly #kind: VlanKind<Config>;
  readonly #kernel: NetworkKernel;
  readonly #parents: VlanParents;
  readonly #pools: readonly AddressPool[];
  readonly #book: AddressBook | undefined;
  readonly #table = new NetworkTable<Attachment, OpenNetwork<Config>>();

  constructor(kindName: string, options: VlanDriverOptions, kind: VlanKind<Config>) {
    this.#kindName = kindName;
    this.#kind = kind;
    this.#kernel = options.kernel ?? nativeKernel();
    this.#parents = new VlanParents(this.#kernel, `${kindName} ${options.name ?? 'tare'}`);
    this.#pools = options.pools ?? hostPools();
    this.#book = options.addressBook;
  }

  async createNetwork(config: Config, options?: { signal?: AbortSignal }): Promise<Network> {
    const same = (known: Config): boolean => JSON.stringify(known) === JSON.stringify(config);
    return await this.#table.create(config, same, () => this.#open(config), options?.signal);
  }

  async #open(config: Config): Promise<OpenNetwork<Config>> {
    const { id, parent: parentName, ipv4 = true, ipv6 = false } = config;
    checkCommon({ id, ipv4, ipv6, mtu: config.mtu ?? 1500 });
    this.#kind.check(config);
    const user = [...this.#table.all()].find(({ parent }) => parent.name === parentName);
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
          others: Array.from(this.#table.all(), ({ network }) => network),
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
    await this.#table.remove(networkId, async ({ parent }) => {
      await this.#parents.close(parent.name);
      this.#book?.forget(networkId);
    });
  }

  async attach(
    networkId: string,
    config: EndpointConfig,
    options?: { signal?: AbortSignal },
  ): Promise<Endpoint> {
    const make = async (network: OpenNetwork<Config>): Promise<Attachment> => {
      if (config.ports?.length) throw this.#noPorts();
      return { endpoint: await this.#attach(network, config), sandbox: config.sandbox };
    };
    return (await this.#table.attach(networkId, config.id, make, options?.signal)).endpoint;
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
    await this.#table.detach(networkId, endpointId, async (network, attachment) => {
      await this.#remove(attachment);
      for (const { address } of addressesOf(attachment.endpoint)) spaceOf(network, address)?.release(address);
    });
  }

  async #remove({ endpoint, sandbox: path }: Attachment): Promise<void> {
    using sandbox = await this.#openStanding(path);
    await sandbox?.send([deleteLink({ name: endpoint.interfaceName })], { ignore: ['ENODEV'] });
  }

  async setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint> {
    return await this.#table.on(networkId, endpointId, async (network, attachment) => {
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
    return await Promise.resolve(Array.from(this.#table.all(), ({ network }) => network));
  }

  async endpoints(networkId: string): Promise<Endpoint[]> {
    const endpoints = this.#table.get(networkId)?.endpoints.values() ?? [];
    return await Promise.resolve(Array.from(endpoints, ({ endpoint }) => endpoint));
  }

  async reconcile(intended: {
    networks: readonly Config[];
    endpoints: readonly IntendedEndpoint[];
  }): Promise<void> {
    await this.#table.exclusively(async () => {
      const before = [...this.#table.attachments().values()];
      this.#table.clear();
      const failures = await this.#table.refill(
        intended,
        (config) => this.#open(config),
        (network, wanted) => this.#adopt(network, wanted),
      );
      const kept = new Set(intended.endpoints.map(({ endpoint }) => endpoint.id));
      for (const attachment of before) if (!kept.has(attachment.endpoint.id)) await this.#remove(attachment);
      await this.#parents.sweep(new Set(Array.from(this.#table.all(), ({ parent }) => parent.name)));
      for (const { network } of this.#table.all()) this.#book?.retain(network.id, kept);
      reportFailures(failures);
    });
  }

  async #adopt(
    network: OpenNetwork<Config>,
    { endpoint, sandbox: path }: IntendedEndpoint,
  ): Promise<Attachment | undefined> {
    using sandbox = await this.#openStanding(path);
    if (!sandbox) return undefined;
    for (const { address } of addressesOf(endpoint))
      spaceOf(network, address)?.allocate(address, endpoint.id);
    if (!(await sandbox.find(endpoint.interfaceName))) {
      await this.#connect(network, endpoint, sandbox);
      const route = { ipv4: endpoint.gateway !== undefined, ipv6: endpoint.gateway6 !== undefined };
      await this.#configure(network, endpoint, sandbox, this.#kind.routed(network.config) || route, {});
    }
    return { endpoint, sandbox: path };
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
    await this.#table.exclusively(async () => {
      for (const attachment of this.#table.attachments().values()) await this.#remove(attachment);
      this.#table.clear();
      await this.#parents.sweep(new Set());
      this.#parents.closeSockets();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#table.exclusively(() => Promise.resolve(this.#parents.closeSockets()));
  }

  #noPorts(): NetworkError {
    return new NetworkError(
      'UNSUPPORTED',
      `ports of ${this.#kindName} networks are not published: endpoints are reached at their own addresses`,
    );
  }
}
