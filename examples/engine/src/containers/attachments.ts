/** A container's networks: which it is on, its endpoints while it runs, and the /etc files that depend on them. */
import { randomBytes } from 'node:crypto';
import { DNS_ADDRESS, type DefaultRoute, type Endpoint, type PortMapping } from '@tare/netdriver';

import { conflict, forbidden } from '../errors.ts';
import { endpointOptions, interfacePrefix } from '../networks/driver-options.ts';
import { portMappings } from '../networks/ports.ts';
import { runAll } from '../settle.ts';
import type { NetworkRecord } from '../state/networks-table.ts';
import type { NetworkAttachment } from './container.ts';
import type { EndpointSettings } from './create-request.ts';
import type { HostConfig } from './host-config.ts';
import {
  endpointAddresses,
  hostResolvConf,
  hostsFile,
  ownResolvConf,
  readIfThere,
  resolvConf,
  writeInPlace,
} from './etc-files.ts';
import { linkHosts } from './links.ts';
import { containerHostname } from './spec-inputs.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** Attaches every network of a container that starts, the one with the default route first. */
export async function attachNetworks(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  const named = nameNetworks(world, state.networks);
  if (!hasOwnNetwork(host.NetworkMode)) return;
  const carried = named.filter(({ network }) => world.networks.carries(network));
  if (carried.length === 0) {
    await world.sandboxes.bringUpLoopback(containerFiles(world.paths, record.id).sandbox);
  }
  const gateways = chooseGateways(carried);
  const ports = portMappings(config, host);
  for (const [index, { network, attachment }] of carried.entries()) {
    const isGateway = attachment === gateways.ports;
    await attachOne(world, container, attachment, {
      interfaceName: freeName(interfacePrefix(network), state.networks),
      defaultRoute: { ipv4: attachment === gateways.ipv4, ipv6: attachment === gateways.ipv6 },
      ports: isGateway && world.networks.publishes(network.id) ? ports : [],
      macAddress: attachment.settings.MacAddress || (index === 0 ? config.MacAddress : undefined),
    });
  }
}

function hasOwnNetwork(mode = ''): boolean {
  return mode !== 'host' && !mode.startsWith('container:');
}

async function attachOne(
  world: ContainerWorld,
  container: LiveContainer,
  attachment: NetworkAttachment,
  options: {
    interfaceName: string;
    defaultRoute: DefaultRoute;
    ports: PortMapping[];
    macAddress: string | undefined;
  },
): Promise<void> {
  const { macAddress, ...rest } = options;
  const { IPAMConfig, DriverOpts } = attachment.settings;
  attachment.endpoint = await world.networks.attach(
    attachment.networkId,
    {
      id: randomBytes(32).toString('hex'),
      sandbox: containerFiles(world.paths, container.id).sandbox,
      ...rest,
      ...endpointOptions(DriverOpts),
      ...(IPAMConfig?.IPv4Address ? { ipv4Address: IPAMConfig.IPv4Address } : {}),
      ...(IPAMConfig?.IPv6Address ? { ipv6Address: IPAMConfig.IPv6Address } : {}),
      ...(macAddress ? { macAddress } : {}),
    },
    container,
  );
}

interface NamedNetwork {
  network: NetworkRecord;
  attachment: NetworkAttachment;
}

/** Looks the networks up, in the order their gateways are preferred, as dockerd has it. */
function nameNetworks(
  world: ContainerWorld,
  networks: Readonly<Record<string, NetworkAttachment>>,
): NamedNetwork[] {
  const bothFamilies = ({ ipv4 = true, ipv6 = false }: NetworkRecord): number => Number(ipv4 && ipv6);
  return Object.entries(networks)
    .map(([name, attachment]) => {
      const network = world.networks.find(name);
      attachment.networkId = network.id;
      return { network, attachment };
    })
    .sort(
      (a, b) =>
        (b.attachment.settings.GwPriority ?? 0) - (a.attachment.settings.GwPriority ?? 0) ||
        Number(a.network.internal) - Number(b.network.internal) ||
        bothFamilies(b.network) - bothFamilies(a.network) ||
        (a.network.name < b.network.name ? -1 : 1),
    );
}

/** Which attachments the default routes lead through, and which one publishes the ports. Best first. */
function chooseGateways(networks: readonly NamedNetwork[]): {
  ipv4: NetworkAttachment | undefined;
  ipv6: NetworkAttachment | undefined;
  ports: NetworkAttachment | undefined;
} {
  const open = networks.filter(({ network }) => !network.internal);
  const ipv4 = open.find(({ network }) => network.ipv4 ?? true)?.attachment;
  const ipv6 = open.find(({ network }) => network.ipv6 ?? false)?.attachment;
  return { ipv4, ipv6, ports: ipv4 ?? ipv6 };
}

/** The first name with this prefix that no interface of the container has. */
function freeName(prefix: string, networks: Readonly<Record<string, NetworkAttachment>>): string {
  const taken = new Set(Object.values(networks).map(({ endpoint }) => endpoint?.interfaceName));
  let index = 0;
  while (taken.has(`${prefix}${index}`)) index += 1;
  return `${prefix}${index}`;
}

/**
 * Moves default routes and published ports of a running container to where its networks now want them. Those that go
 * go first: a port is published once.
 */
async function settleGateways(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const { state, record } = container;
  const attached = nameNetworks(world, state.networks).filter(({ attachment }) => attachment.endpoint);
  const wanted = chooseGateways(attached);
  const route = (attachment: NetworkAttachment) => ({
    ipv4: attachment === wanted.ipv4,
    ipv6: attachment === wanted.ipv6,
  });
  const has = ({ endpoint }: NetworkAttachment) => ({
    ipv4: endpoint?.gateway !== undefined,
    ipv6: endpoint?.gateway6 !== undefined,
  });
  const same = (a: { ipv4: boolean; ipv6: boolean }, b: typeof a) => a.ipv4 === b.ipv4 && a.ipv6 === b.ipv6;
  const isWanted = ({ attachment }: NamedNetwork) => attachment === wanted.ipv4 || attachment === wanted.ipv6;
  for (const { attachment } of [...attached].sort((a, b) => Number(isWanted(a)) - Number(isWanted(b)))) {
    const { networkId, endpoint } = attachment;
    if (!endpoint || same(route(attachment), has(attachment))) continue;
    attachment.endpoint = await world.networks.setDefaultRoute(networkId, endpoint.id, route(attachment));
  }
  for (const { attachment } of attached) {
    const { networkId, endpoint } = attachment;
    if (!endpoint || attachment === wanted.ports || endpoint.ports.length === 0) continue;
    await world.networks.unpublishPorts(networkId, endpoint.id, endpoint.ports);
    attachment.endpoint = { ...endpoint, ports: [] };
  }
  const to = wanted.ports;
  if (!to?.endpoint || to.endpoint.ports.length > 0 || !world.networks.publishes(to.networkId)) return;
  const ports = await world.networks.publishPorts(
    to.networkId,
    to.endpoint.id,
    portMappings(record.config, record.hostConfig),
    container,
  );
  to.endpoint = { ...to.endpoint, ports };
}

/** Detaches every network the container is attached to. */
export async function detachNetworks(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const attached = Object.values(container.state.networks).filter(({ endpoint }) => endpoint);
  await runAll(attached.map((attachment) => () => detachOne(world, container, attachment)));
}

async function detachOne(
  world: ContainerWorld,
  container: LiveContainer,
  attachment: NetworkAttachment,
): Promise<void> {
  if (!attachment.endpoint) return;
  await world.networks.detach(attachment.networkId, attachment.endpoint.id, container.id);
  delete attachment.endpoint;
}

/**
 * Puts a container on one more network: at once when it runs, at its next start otherwise.
 *
 * @throws {EngineError} `FORBIDDEN` when it has no network of its own, or is on this one; `CONFLICT` while it restarts
 */
export async function connectNetwork(
  world: ContainerWorld,
  container: LiveContainer,
  network: NetworkRecord,
  settings: EndpointSettings,
): Promise<void> {
  using _lock = await container.lock.acquire();
  const { state, record } = container;
  refuseShared(record.hostConfig.NetworkMode, network);
  if (state.removing)
    throw conflict(`container ${container.id} is marked for removal and cannot be connected`);
  if (state.networks[network.name]) {
    throw forbidden(`endpoint with name ${container.name} already exists in network ${network.name}`);
  }
  const attachment: NetworkAttachment = { networkId: network.id, settings };
  if (container.handle) {
    await attachOne(world, container, attachment, {
      interfaceName: freeName(interfacePrefix(network), state.networks),
      defaultRoute: false,
      ports: [],
      macAddress: settings.MacAddress,
    });
  }
  state.networks[network.name] = attachment;
  if (container.handle) await settleGateways(world, container);
  world.store.saveState(container);
  if (container.handle) {
    await world.nameServers.settle(container);
    writeEtcFiles(world, container);
  }
}

/**
 * Takes a container off a network; the default routes of a running one move to the next best.
 *
 * @throws {EngineError} `FORBIDDEN` when it is not on it
 */
export async function disconnectNetwork(
  world: ContainerWorld,
  container: LiveContainer,
  network: NetworkRecord,
): Promise<void> {
  using _lock = await container.lock.acquire();
  const { state } = container;
  const attachment = state.networks[network.name];
  if (!attachment) {
    throw forbidden(`container ${container.id} is not connected to network ${network.name}`);
  }
  if (network.driver === 'host') {
    throw forbidden('container cannot be disconnected from host network or connected to host network');
  }
  await detachOne(world, container, attachment);
  delete state.networks[network.name];
  if (container.handle) await settleGateways(world, container);
  world.store.saveState(container);
  if (container.handle) {
    await world.nameServers.settle(container);
    writeEtcFiles(world, container);
  }
}

function refuseShared(mode = '', network: NetworkRecord): void {
  if (!hasOwnNetwork(mode)) {
    throw forbidden(
      'container sharing network namespace with another container or host cannot be connected to any other network',
    );
  }
  if (network.driver === 'host') {
    throw forbidden('container cannot be disconnected from host network or connected to host network');
  }
  if (network.driver === 'null' || mode === 'none') {
    throw forbidden(
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }
}

/** What the container asks of its resolver, else what the engine was told. */
export function dnsChoice(
  { defaults }: Pick<ContainerWorld, 'defaults'>,
  host: HostConfig,
): { servers: readonly string[]; search: readonly string[]; options: readonly string[] } {
  const either = (own: readonly string[] | undefined, other: readonly string[]): readonly string[] =>
    own?.length ? own : other;
  return {
    servers: either(host.Dns, defaults.dns),
    search: either(host.DnsSearch, defaults.dnsSearch),
    options: either(host.DnsOptions, defaults.dnsOptions),
  };
}

/** What `host-gateway` means. */
function gatewaysOf({ defaults }: ContainerWorld, endpoints: readonly Endpoint[]): string[] {
  if (defaults.hostGateways.length > 0) return defaults.hostGateways;
  const first = endpoints.find(({ gateway }) => gateway !== undefined)?.gateway;
  return first === undefined ? [] : [first];
}

/** Writes /etc/hosts, /etc/hostname and /etc/resolv.conf as the container's endpoints are now. */
export function writeEtcFiles(world: ContainerWorld, container: LiveContainer): void {
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  if (host.NetworkMode?.startsWith('container:')) return;
  const files = containerFiles(world.paths, record.id);
  const hostname = containerHostname(record);
  writeInPlace(files.hostname, `${hostname}\n`);

  const endpoints = Object.values(state.networks).flatMap(({ endpoint }) => endpoint ?? []);
  const own = hostsFile({
    extraHosts: host.ExtraHosts ?? [],
    gateways: gatewaysOf(world, endpoints),
    links: linkHosts(world, container),
    addresses: endpoints.flatMap(endpointAddresses),
    names: config.Domainname ? [`${hostname}.${config.Domainname}`, hostname] : [hostname],
  });
  const hostNetwork = host.NetworkMode === 'host';
  const asHost = hostNetwork && !host.ExtraHosts?.length;
  writeInPlace(files.hosts, asHost ? (readIfThere('/etc/hosts') ?? own) : own);

  const choice = dnsChoice(world, host);
  const chosen = Object.values(choice).some((list) => list.length > 0);
  if (world.nameServers.wanted(container)) {
    writeInPlace(files.resolvConf, ownResolvConf(DNS_ADDRESS, hostResolvConf(), choice));
    return;
  }
  writeInPlace(
    files.resolvConf,
    hostNetwork && !chosen ? (readIfThere('/etc/resolv.conf') ?? '') : resolvConf(hostResolvConf(), choice),
  );
}
