/** A network driver whose work is done by CNI plugins. */

import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  NetworkError,
  type Endpoint,
  type EndpointConfig,
  type IntendedEndpoint,
  type Network,
  type NetworkConfig,
  type NetworkDriver,
  type PortMapping,
  type PublishedPort,
} from '@tare/netdriver';

import { CniPlugins, type CniPlugin, type CniResult } from './plugins.ts';

/** A network to create. */
export interface CniNetworkConfig extends NetworkConfig {
  /** In the order of their ADD. */
  plugins: readonly CniPlugin[];
}

/** Options of {@link createCniDriver}. */
export interface CniDriverOptions {
  /** Where the plugins are, first come first. */
  directories: readonly string[];
  /** Where it is written down what was added; made when it is not there. */
  stateDirectory: string;
}

const CNI_VERSION = '1.0.0';

/** What is on record of an endpoint: all that its DEL needs. */
interface Added {
  endpoint: Endpoint;
  sandbox: string;
  configs: CniPlugin[];
  result: CniResult;
}

/** Makes a driver. After a crash its first call should be `reconcile`. */
export function createCniDriver(options: CniDriverOptions): NetworkDriver<CniNetworkConfig> {
  return new CniDriver(options);
}

class CniDriver implements NetworkDriver<CniNetworkConfig> {
  readonly #plugins: CniPlugins;
  readonly #stateDirectory: string;
  readonly #networks = new Map<string, { config: CniNetworkConfig; network: Network }>();
  readonly #added = new Map<string, Added>();

  constructor({ directories, stateDirectory }: CniDriverOptions) {
    this.#plugins = new CniPlugins(directories);
    this.#stateDirectory = stateDirectory;
  }

  async createNetwork(config: CniNetworkConfig, options?: { signal?: AbortSignal }): Promise<Network> {
    options?.signal?.throwIfAborted();
    const { id, plugins, subnets = [], mtu = 1500, internal = false } = config;
    checkName('network id', id);
    const known = this.#networks.get(id);
    if (known) {
      if (JSON.stringify(known.config) === JSON.stringify(config)) return known.network;
      throw new NetworkError('ALREADY_EXISTS', `network ${id} exists with other settings; remove it first`);
    }
    if (plugins.length === 0) throw new NetworkError('INVALID_CONFIG', `network ${id} has no plugin`);
    for (const { type } of plugins) await this.#plugins.find(type);
    const bridge = plugins[0]!['bridge'];
    const linkName = typeof bridge === 'string' ? bridge : '';
    const network = { id, linkName, subnets: [...subnets], mtu, internal };
    this.#networks.set(id, { config, network });
    return network;
  }

  async removeNetwork(networkId: string): Promise<void> {
    const count = (await this.endpoints(networkId)).length;
    if (count > 0)
      throw new NetworkError('IN_USE', `network ${networkId} has ${count} endpoints; detach them first`);
    this.#networks.delete(networkId);
  }

  async attach(
    networkId: string,
    config: EndpointConfig,
    options?: { signal?: AbortSignal },
  ): Promise<Endpoint> {
    options?.signal?.throwIfAborted();
    const known = this.#networks.get(networkId);
    if (!known) throw new NetworkError('NOT_FOUND', `there is no network ${networkId} to attach to`);
    checkName('endpoint id', config.id);
    const key = keyOf(networkId, config.id);
    if (this.#added.has(key)) {
      throw new NetworkError(
        'ALREADY_EXISTS',
        `endpoint ${config.id} is attached to network ${networkId} already`,
      );
    }
    const ports = (config.ports ?? []).flatMap(published);
    const configs = known.config.plugins.map((plugin, index) =>
      completed(plugin, index === 0, known.config, config, ports),
    );
    const interfaceName = config.interfaceName ?? 'eth0';
    const call = { containerId: config.id, sandbox: config.sandbox, interfaceName };
    // on record before anything is done: a crash leaves what DEL needs
    const added: Added = {
      endpoint: { id: config.id, networkId, interfaceName, hostInterfaceName: '', macAddress: '', ports },
      sandbox: config.sandbox,
      configs,
      result: {},
    };
    await this.#save(key, added);
    try {
      let result: CniResult = {};
      for (const [index, plugin] of configs.entries()) {
        const input = index === 0 ? plugin : { ...plugin, prevResult: result };
        result = await this.#plugins.run(input, { ...call, command: 'ADD' });
        options?.signal?.throwIfAborted();
      }
      added.result = result;
      added.endpoint = endpointOf(added.endpoint, result, config);
      await this.#save(key, added);
      this.#added.set(key, added);
      return added.endpoint;
    } catch (error) {
      await this.#remove(key, added);
      throw error;
    }
  }

  async detach(networkId: string, endpointId: string): Promise<void> {
    const key = keyOf(networkId, endpointId);
    const added = this.#added.get(key);
    if (added) await this.#remove(key, added);
  }

  async setDefaultRoute(): Promise<Endpoint> {
    throw unsupported('to move a default route');
  }

  async publish(
    _networkId: string,
    _endpointId: string,
    ports: readonly PortMapping[],
  ): Promise<PublishedPort[]> {
    if (ports.length > 0) throw unsupported('to publish ports of an endpoint that is there');
    return [];
  }

  async unpublish(_networkId: string, _endpointId: string, ports: readonly PublishedPort[]): Promise<void> {
    if (ports.length > 0) throw unsupported('to take ports back');
  }

  async networks(): Promise<Network[]> {
    return Array.from(this.#networks.values(), ({ network }) => network);
  }

  async endpoints(networkId: string): Promise<Endpoint[]> {
    const endpoints = Array.from(this.#added.values(), ({ endpoint }) => endpoint);
    return endpoints.filter((endpoint) => endpoint.networkId === networkId);
  }

  async reconcile(intended: {
    networks: readonly CniNetworkConfig[];
    endpoints: readonly IntendedEndpoint[];
  }): Promise<void> {
    const recorded = await this.#recorded();
    this.#networks.clear();
    this.#added.clear();
    for (const config of intended.networks) await this.createNetwork(config);
    for (const { networkId, endpoint, sandbox } of intended.endpoints) {
      const key = keyOf(networkId, endpoint.id);
      const added = recorded.get(key);
      recorded.delete(key);
      if (added && (await this.#stands(added))) {
        this.#added.set(key, added);
        continue;
      }
      if (added) await this.#remove(key, added);
      const { id, interfaceName, ports } = endpoint;
      await this.attach(networkId, { id, sandbox, interfaceName, ports });
    }
    for (const [key, added] of recorded) await this.#remove(key, added);
  }

  async destroy(): Promise<void> {
    for (const [key, added] of await this.#recorded()) await this.#remove(key, added);
    this.#networks.clear();
  }

  /** Whether every plugin still finds its work in place. */
  async #stands(added: Added): Promise<boolean> {
    const { endpoint, sandbox, configs, result } = added;
    try {
      for (const plugin of configs) {
        const call = { containerId: endpoint.id, sandbox, interfaceName: endpoint.interfaceName };
        await this.#plugins.run({ ...plugin, prevResult: result }, { ...call, command: 'CHECK' });
      }
      return true;
    } catch (error) {
      if (error instanceof NetworkError) return false;
      throw error;
    }
  }

  /** DEL of each plugin, the last first; one that fails does not keep the others from it. */
  async #remove(key: string, { endpoint, sandbox, configs, result }: Added): Promise<void> {
    const failures: unknown[] = [];
    for (const plugin of configs.toReversed()) {
      const call = { containerId: endpoint.id, sandbox, interfaceName: endpoint.interfaceName };
      const input = Object.keys(result).length > 0 ? { ...plugin, prevResult: result } : plugin;
      await this.#plugins
        .run(input, { ...call, command: 'DEL' })
        .catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0)
      throw new AggregateError(failures, `detaching ${endpoint.id}: ${failures.map(String).join('; ')}`);
    this.#added.delete(key);
    await rm(join(this.#stateDirectory, key), { force: true });
  }

  async #save(key: string, added: Added): Promise<void> {
    await mkdir(this.#stateDirectory, { recursive: true, mode: 0o700 });
    const path = join(this.#stateDirectory, key);
    await writeFile(`${path}.new`, JSON.stringify(added), { flush: true });
    await rename(`${path}.new`, path);
  }

  async #recorded(): Promise<Map<string, Added>> {
    await mkdir(this.#stateDirectory, { recursive: true, mode: 0o700 });
    const names = (await readdir(this.#stateDirectory)).filter((name) => !name.endsWith('.new'));
    const records = await Promise.all(
      names.map(async (name) => {
        const text = await readFile(join(this.#stateDirectory, name), 'utf8');
        return [name, JSON.parse(text) as Added] as const;
      }),
    );
    return new Map(records);
  }
}

/** A plugin's configuration with what the runtime has to say to it. */
function completed(
  plugin: CniPlugin,
  first: boolean,
  { id, subnets = [], mtu }: CniNetworkConfig,
  endpoint: EndpointConfig,
  ports: readonly PublishedPort[],
): CniPlugin {
  const { capabilities = {} } = plugin;
  const ips = [endpoint.ipv4Address, endpoint.ipv6Address].filter((address) => address !== undefined);
  const told = {
    portMappings: ports.map(({ protocol, hostIp, ...port }) => ({ ...port, protocol, hostIP: hostIp })),
    ips,
    mac: endpoint.macAddress,
  };
  const runtimeConfig = Object.fromEntries(
    Object.entries(told).filter(
      ([name, value]) => capabilities[name] && value !== undefined && value.length > 0,
    ),
  );
  return {
    ...(mtu === undefined || !first ? {} : { mtu }),
    ...(first && subnets.length > 0 ? { ipam: hostLocal(subnets, endpoint) } : {}),
    ...plugin,
    cniVersion: CNI_VERSION,
    name: id,
    ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
  };
}

function hostLocal(
  subnets: NonNullable<NetworkConfig['subnets']>,
  { defaultRoute = true }: EndpointConfig,
): object {
  const everywhere = (family6: boolean) => (family6 ? '::/0' : '0.0.0.0/0');
  const families = new Set(subnets.map(({ subnet }) => subnet.includes(':')));
  return {
    type: 'host-local',
    ranges: [...families].map((family6) =>
      subnets
        .filter(({ subnet }) => subnet.includes(':') === family6)
        .map(({ subnet, gateway }) => ({ subnet, ...(gateway === undefined ? {} : { gateway }) })),
    ),
    routes: defaultRoute === false ? [] : Array.from(families, (family6) => ({ dst: everywhere(family6) })),
  };
}

function published({ protocol, containerPort, hostIp = '0.0.0.0', hostPort }: PortMapping): PublishedPort[] {
  if (typeof hostPort !== 'number' || hostPort === 0) {
    throw unsupported(`to choose a host port for container port ${containerPort}; name one`);
  }
  return [{ protocol, containerPort, hostIp, hostPort }];
}

function endpointOf(
  endpoint: Endpoint,
  { interfaces = [], ips = [], routes = [] }: CniResult,
  config: EndpointConfig,
): Endpoint {
  const inside = interfaces.findIndex(({ sandbox }) => sandbox === config.sandbox);
  const own = ips.filter((ip) => ip.interface === undefined || ip.interface === inside);
  const host = interfaces.find(({ sandbox, name }) => !sandbox && name.startsWith('veth'));
  const [ipv4, ipv6] = [
    own.find(({ address }) => !address.includes(':')),
    own.find(({ address }) => address.includes(':')),
  ];
  const gateway = (destination: string, ip: { gateway?: string } | undefined): string | undefined => {
    const route = routes.find(({ dst }) => dst === destination);
    return route && (route.gw ?? ip?.gateway);
  };
  const [via, via6] = [gateway('0.0.0.0/0', ipv4), gateway('::/0', ipv6)];
  return {
    ...endpoint,
    hostInterfaceName: host?.name ?? '',
    macAddress: interfaces[inside]?.mac ?? '',
    ...(ipv4 ? { ipv4Address: ipv4.address } : {}),
    ...(ipv6 ? { ipv6Address: ipv6.address } : {}),
    ...(via === undefined ? {} : { gateway: via }),
    ...(via6 === undefined ? {} : { gateway6: via6 }),
  };
}

/** Names become names of files, here and in the plugins. */
function checkName(what: string, name: string): void {
  if (/^[A-Za-z0-9][\w.-]{0,127}$/.test(name)) return;
  throw new NetworkError(
    'INVALID_CONFIG',
    `${what} "${name}" is not made of letters, digits, underscores, dots and hyphens`,
  );
}

function keyOf(networkId: string, endpointId: string): string {
  return `${networkId}:${endpointId}`;
}

function unsupported(what: string): NetworkError {
  return new NetworkError('UNSUPPORTED', `CNI plugins have no way ${what}`);
}
