/** A container's networks: which it is on, its endpoints while it runs, and the /etc files that depend on them. */
import { randomBytes } from 'node:crypto';
import { DNS_ADDRESS, type Endpoint, type PortMapping } from '@tare/netdriver';

import { conflict, forbidden } from '../errors.ts';
import { portMappings } from '../networks/ports.ts';
import { runAll } from '../settle.ts';
import type { NetworkRecord } from '../state/networks-table.ts';
import type { NetworkAttachment } from './container.ts';
import type { EndpointSettings } from './create-request.ts';
import type { HostConfig } from './host-config.ts';
import {
  hostResolvConf,
  hostsFile,
  ownResolvConf,
  readIfThere,
  resolvConf,
  writeInPlace,
} from './etc-files.ts';
import { containerHostname } from './spec-inputs.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

/** Attaches every network of a container that starts, the one with the default route first. */
export async function attachNetworks(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  const named = nameNetworks(world, state.networks);
  if (!hasOwnNetwork(host.NetworkMode)) return;
  const bridged = named.filter(({ driver }) => driver === 'bridge');
  if (bridged.length === 0) {
    await world.sandboxes.bringUpLoopback(containerFiles(world.paths, record.id).sandbox);
  }
  const ports = portMappings(config, host);
  for (const [index, { attachment }] of bridged.entries()) {
    await attachOne(world, container, attachment, {
      interfaceName: `eth${index}`,
      defaultRoute: index === 0,
      // published on the network that the default route leads to
      ports: index === 0 ? ports : [],
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
    defaultRoute: boolean;
    ports: PortMapping[];
    macAddress: string | undefined;
  },
): Promise<void> {
  const { macAddress, ...rest } = options;
  const address = attachment.settings.IPAMConfig?.IPv4Address;
  attachment.endpoint = await world.networks.attach(
    attachment.networkId,
    {
      id: randomBytes(32).toString('hex'),
      sandbox: containerFiles(world.paths, container.id).sandbox,
      ...rest,
      ...(address ? { ipv4Address: address } : {}),
      ...(macAddress ? { macAddress } : {}),
    },
    container,
  );
}

/** Looks the networks up, in the order their gateways are preferred: priority, then name. */
function nameNetworks(
  world: ContainerWorld,
  networks: Readonly<Record<string, NetworkAttachment>>,
): { driver: string; attachment: NetworkAttachment }[] {
  return Object.entries(networks)
    .map(([name, attachment]) => {
      const { id, driver } = world.networks.find(name);
      attachment.networkId = id;
      return { name, driver, attachment };
    })
    .sort(
      (a, b) =>
        (b.attachment.settings.GwPriority ?? 0) - (a.attachment.settings.GwPriority ?? 0) ||
        (a.name < b.name ? -1 : 1),
    );
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
    const taken = new Set(Object.values(state.networks).map(({ endpoint }) => endpoint?.interfaceName));
    let index = 0;
    while (taken.has(`eth${index}`)) index += 1;
    await attachOne(world, container, attachment, {
      interfaceName: `eth${index}`,
      defaultRoute: Object.values(state.networks).every(({ endpoint }) => !endpoint?.gateway),
      ports: [],
      macAddress: settings.MacAddress,
    });
  }
  state.networks[network.name] = attachment;
  world.store.saveState(container);
  if (container.handle) {
    await world.nameServers.settle(container);
    writeEtcFiles(world, container);
  }
}

/**
 * Takes a container off a network. The default route of a running one is not moved to another network.
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
    addresses: endpoints.map(({ ipv4Address }) => ipv4Address.split('/')[0]!),
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
