/** Endpoints of the bridge driver: making them, taking them up after a crash, and undoing them. */

import { randomBytes } from 'node:crypto';

import { parseCidr } from './address-range.ts';
import type { SpaceAddress } from './address-space.ts';
import { checkInterfaceName } from './bridge-config.ts';
import { randomMac, type BridgeLinks } from './bridge-links.ts';
import type { Attachment, BridgeNetwork } from './bridge-network.ts';
import type { DefaultRoute, Endpoint, EndpointConfig, PortMapping, PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { Firewall, FirewallEndpoint } from './firewall.ts';
import { configured } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { macBytes, type Link } from './netlink/link.ts';
import { Rollback, settleAll } from './operation-order.ts';
import { HeldPorts, type PortAllocator, type PortRequest } from './port-allocator.ts';
import { ANY_IPV4, ANY_IPV6, checkPortMapping, familyOf, PROTOCOL_NUMBER } from './ports.ts';
import { Sandbox, sysctlPaths } from './sandbox.ts';
import { filtersBridgedPackets, hasIpv6 } from './sysctl.ts';

/** What endpoints are made with. */
export interface EndpointTools {
  readonly kernel: NetworkKernel;
  readonly links: BridgeLinks;
  readonly firewall: Firewall;
  readonly ports: PortAllocator;
  /** Whether this process may forward where the kernel cannot. */
  readonly userlandProxy: boolean;
}

/** Attaches a sandbox; when it resolves, the interface is up and the ports are reachable. Fails without a trace. */
export async function attachEndpoint(
  tools: EndpointTools,
  network: BridgeNetwork,
  config: EndpointConfig,
  signal?: AbortSignal,
): Promise<Attachment> {
  const { links, firewall } = tools;
  const { settings } = network;
  const { interfaceName = 'eth0', macAddress = randomMac(), sysctls = {} } = config;
  checkInterfaceName(interfaceName);
  configured(`endpoint ${config.id}`, () => macBytes(macAddress));
  sysctlPaths(sysctls, interfaceName);
  const rollback = new Rollback();
  try {
    const [ipv4, ipv6] = takeAddresses(network, config);
    rollback.defer(() => giveBack(network, [ipv4, ipv6]));
    const endpoint: Endpoint = {
      id: config.id,
      networkId: settings.id,
      interfaceName,
      // never one that was used before: its pair may still be waiting to be deleted
      hostInterfaceName: `veth${randomBytes(4).toString('hex')}`,
      macAddress: macAddress.toLowerCase(),
      ...(ipv4 ? { ipv4Address: withPrefix(ipv4) } : {}),
      ...(ipv6 ? { ipv6Address: withPrefix(ipv6) } : {}),
      ...gatewaysOf(network, config.defaultRoute ?? true, ipv4, ipv6),
      ports: [],
    };
    const held = tools.ports.hold(portRequests(tools, network, endpoint, config.ports ?? []));
    rollback.defer(() => held.release());
    endpoint.ports = held.ports;
    using sandbox = await Sandbox.open(tools.kernel, config.sandbox);
    rollback.defer(async () => {
      const link = await links.find(endpoint.hostInterfaceName);
      if (link) await links.bury([link]);
    });
    const hostIndex = await connect(links, network, endpoint, sandbox);
    signal?.throwIfAborted();
    rollback.defer(() => firewall.removeEndpoint(endpoint.id, settings.bridgeName));
    await settleAll('attaching', [
      firewall.addEndpoint(firewallEndpoint(network, endpoint)),
      bringUp(links, endpoint, sandbox, sysctls, signal),
    ]);
    await forgetStaleFlows(links, endpoint.ports);
    signal?.throwIfAborted();
    return { endpoint, sandbox: config.sandbox, hostIndex, held };
  } catch (error) {
    throw await rollback.run(error);
  }
}

/**
 * Takes an endpoint out. Every step may be repeated when a later one failed.
 *
 * The order matters: an address or port is free for others only when nothing leads to it any more.
 */
export async function detachEndpoint(
  { links, firewall }: EndpointTools,
  network: BridgeNetwork,
  { endpoint, hostIndex, held }: Attachment,
): Promise<void> {
  const addresses = addressesOf(endpoint).map(({ address }) => address);
  await firewall.removeEndpoint(endpoint.id, network.settings.bridgeName);
  await links.bury([{ index: hostIndex }], { bridgeIndex: network.bridgeIndex, addresses });
  held.release();
  for (const address of addresses) spaceOf(network, address)?.release(address);
}

/**
 * Takes up an endpoint that an earlier process, or this one, made: its link if that stands, a new one if not. Port
 * reservations that are still held are kept. The packet filter is not told.
 *
 * @returns undefined when its sandbox is gone; and in `failures` what the endpoint had to be taken up without
 */
export async function adoptEndpoint(
  tools: EndpointTools,
  network: BridgeNetwork,
  intended: { endpoint: Endpoint; sandbox: string },
  found: { link: Link | undefined; held: HeldPorts | undefined },
  failures: unknown[],
): Promise<Attachment | undefined> {
  const { kernel, links } = tools;
  using sandbox = await openStanding(kernel, intended.sandbox);
  if (!sandbox) return undefined;
  const { link } = found;
  const rollback = new Rollback();
  try {
    for (const { address } of addressesOf(intended.endpoint)) {
      const space = spaceOf(network, address);
      space?.allocate(address, intended.endpoint.id);
      rollback.defer(() => space?.release(address));
    }
    let held = found.held;
    if (!held) {
      held = holdAgain(tools, network, intended.endpoint, failures);
      rollback.defer(() => held?.release());
    }
    const endpoint = { ...intended.endpoint, ports: held.ports };
    const made = { endpoint, sandbox: intended.sandbox, held };
    if (!link) {
      const hostIndex = await connect(links, network, endpoint, sandbox);
      rollback.defer(() => links.bury([{ index: hostIndex }]));
      await bringUp(links, endpoint, sandbox, {});
      return { ...made, hostIndex };
    }
    if (link.master !== network.bridgeIndex) await links.join(link.index, network.bridgeIndex);
    return { ...made, hostIndex: link.index };
  } catch (error) {
    throw await rollback.run(error);
  }
}

/** Publishes more ports of an endpoint, all of them or none. */
export async function publishPorts(
  tools: EndpointTools,
  network: BridgeNetwork,
  { endpoint, held }: Attachment,
  mappings: readonly PortMapping[],
): Promise<PublishedPort[]> {
  const more = tools.ports.hold(portRequests(tools, network, endpoint, mappings));
  const ports = [...more.ports];
  try {
    const add = translated(endpoint, ports);
    await tools.firewall.changePorts(endpoint.id, network.settings.bridgeName, { add });
  } catch (error) {
    more.release();
    throw error;
  }
  held.absorb(more);
  await forgetStaleFlows(tools.links, ports);
  return ports;
}

/** Takes ports of an endpoint back. */
export async function unpublishPorts(
  { links, firewall }: EndpointTools,
  network: BridgeNetwork,
  { endpoint, held }: Attachment,
  ports: readonly PublishedPort[],
): Promise<void> {
  const remove = translated(endpoint, ports);
  await firewall.changePorts(endpoint.id, network.settings.bridgeName, { remove });
  await forgetStaleFlows(links, ports);
  held.release(ports);
}

/** Leads the sandbox's default route through the endpoint, or no longer. */
export async function setEndpointRoute(
  { kernel }: EndpointTools,
  network: BridgeNetwork,
  attachment: Attachment,
  route: DefaultRoute,
): Promise<Endpoint> {
  const { endpoint } = attachment;
  const [ipv4, ipv6] = ([4, 6] as const).map((family) => {
    const own = addressesOf(endpoint).find(({ address }) => familyOf(address) === family)?.address;
    return own === undefined ? undefined : spaceOf(network, own)?.describe(own);
  });
  const wanted = gatewaysOf(network, route, ipv4, ipv6);
  using sandbox = await Sandbox.open(kernel, attachment.sandbox, { ready: false });
  await sandbox.setDefaultRoutes(endpoint.interfaceName, [
    ...(ipv4 ? [{ family: 4 as const, gateway: wanted.gateway }] : []),
    ...(ipv6 ? [{ family: 6 as const, gateway: wanted.gateway6 }] : []),
  ]);
  const { gateway: _, gateway6: __, ports, ...rest } = endpoint;
  attachment.endpoint = { ...rest, ...wanted, ports };
  return attachment.endpoint;
}

/** What the packet filter must know of an endpoint. */
export function firewallEndpoint({ settings }: BridgeNetwork, endpoint: Endpoint): FirewallEndpoint {
  const { id, hostInterfaceName, macAddress, ipv4Address, ipv6Address, ports } = endpoint;
  const bare = (text: string | undefined) => text?.split('/')[0];
  return {
    id,
    bridgeName: settings.bridgeName,
    hostInterfaceName,
    macAddress,
    ipv4Address: bare(ipv4Address),
    ipv6Address: bare(ipv6Address),
    ports: translated(endpoint, ports),
  };
}

/** Those that the packet filter leads to the endpoint: of a family that it has. */
function translated(endpoint: Endpoint, ports: readonly PublishedPort[]): PublishedPort[] {
  return ports.filter(({ hostIp }) =>
    familyOf(hostIp) === 4 ? endpoint.ipv4Address !== undefined : endpoint.ipv6Address !== undefined,
  );
}

/**
 * What is to be held for the mappings of an endpoint.
 *
 * @throws {NetworkError} `INVALID_CONFIG`
 */
function portRequests(
  { userlandProxy }: EndpointTools,
  { settings }: BridgeNetwork,
  endpoint: Endpoint,
  mappings: readonly PortMapping[],
): PortRequest[] {
  const addresses = addressesOf(endpoint).map(({ address }) => address);
  const own4 = addresses.find((address) => familyOf(address) === 4);
  const own6 = addresses.find((address) => familyOf(address) === 6);
  const ipv6 = hasIpv6();
  return mappings.flatMap((mapping) => {
    const { protocol, containerPort, hostIp = settings.hostBinding, hostPorts } = checkPortMapping(mapping);
    // nothing comes into an internal network, so nothing is published from it
    if (settings.internal) return [];
    const hosts: { hostIp: string; proxy?: string }[] = [];
    const direct: string[] = [];
    const wanted = hostIp === undefined ? [ANY_IPV4, ...(ipv6 ? [ANY_IPV6] : [])] : [hostIp];
    for (const host of wanted) {
      const family = familyOf(host);
      const own = family === 4 ? own4 : own6;
      const mode = family === 4 ? settings.gatewayMode4 : settings.gatewayMode6;
      if (own !== undefined && mode === 'routed') {
        direct.push(own);
      } else if (own !== undefined) {
        // ::1 cannot be translated where bridged packets are filtered
        const deaf = family === 6 && (host === ANY_IPV6 || host === '::1') && filtersBridgedPackets(6);
        hosts.push(
          deaf && userlandProxy && protocol !== 'sctp' ? { hostIp: host, proxy: own } : { hostIp: host },
        );
      } else if (userlandProxy && protocol !== 'sctp') {
        const other = own4 ?? own6;
        if (other !== undefined) hosts.push({ hostIp: host, proxy: other });
      } else if (hostIp !== undefined) {
        throw new NetworkError(
          'INVALID_CONFIG',
          `port ${containerPort} cannot be published on ${host}: endpoint ${endpoint.id} has no IPv${family} address`,
        );
      }
    }
    return [{ protocol, containerPort, hostPorts, hosts, direct }];
  });
}

function takeAddresses(
  network: BridgeNetwork,
  { id, ipv4Address, ipv6Address }: EndpointConfig,
): [SpaceAddress | undefined, SpaceAddress | undefined] {
  const { addresses4, addresses6 } = network;
  for (const [family, address, space] of [
    [4, ipv4Address, addresses4],
    [6, ipv6Address, addresses6],
  ] as const) {
    if (address === undefined) continue;
    configured(`address of endpoint ${id}`, () => {
      if (familyOf(address) !== family) throw new RangeError(`${address} is not an IPv${family} address`);
      if (!space) throw new RangeError(`network ${network.settings.id} has no IPv${family} for ${address}`);
    });
  }
  const ipv4 = addresses4?.allocate(ipv4Address, id);
  try {
    return [ipv4, addresses6?.allocate(ipv6Address, id)];
  } catch (error) {
    giveBack(network, [ipv4]);
    throw error;
  }
}

function giveBack(network: BridgeNetwork, addresses: readonly (SpaceAddress | undefined)[]): void {
  for (const taken of addresses) if (taken) spaceOf(network, taken.address)?.release(taken.address);
}

function gatewaysOf(
  { settings }: BridgeNetwork,
  route: DefaultRoute,
  ipv4: SpaceAddress | undefined,
  ipv6: SpaceAddress | undefined,
): Pick<Endpoint, 'gateway' | 'gateway6'> {
  if (settings.internal) return {};
  const wants = typeof route === 'boolean' ? { ipv4: route, ipv6: route } : route;
  return {
    ...(wants.ipv4 && ipv4?.router !== undefined ? { gateway: ipv4.router } : {}),
    ...(wants.ipv6 && ipv6?.router !== undefined ? { gateway6: ipv6.router } : {}),
  };
}

function spaceOf({ addresses4, addresses6 }: BridgeNetwork, address: string) {
  return familyOf(address) === 4 ? addresses4 : addresses6;
}

/** Makes the veth pair of an endpoint and returns the index of the host's end. */
async function connect(
  links: BridgeLinks,
  network: BridgeNetwork,
  endpoint: Endpoint,
  sandbox: Sandbox,
): Promise<number> {
  const { hostInterfaceName: name, interfaceName, macAddress } = endpoint;
  const { mtu, icc } = network.settings;
  await links.createVeth({
    name,
    mtu,
    bridgeIndex: network.bridgeIndex,
    peer: { name: interfaceName, macAddress, namespaceFd: sandbox.fd },
  });
  const link = await links.find(name);
  if (!link) throw new NetworkError('NOT_FOUND', `interface ${name} vanished as soon as it was made`);
  // With br_netfilter, packets for a published port of the same network are translated while they are bridged, and go
  // from port to port: back out of the one they came in by, or past an isolation that is then the packet filter's work.
  const filtered = filtersBridgedPackets(4) || filtersBridgedPackets(6);
  const hairpin = filtered;
  const isolated = !filtered && !icc;
  if (hairpin || isolated) await links.setPort(link.index, { hairpin, isolated });
  return link.index;
}

/** Configures the inside of an endpoint, and resolves once packets come and go. */
async function bringUp(
  links: BridgeLinks,
  endpoint: Endpoint,
  sandbox: Sandbox,
  sysctls: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<void> {
  const { interfaceName, hostInterfaceName, macAddress, gateway, gateway6 } = endpoint;
  const gateways = [gateway, gateway6].filter((text) => text !== undefined);
  await sandbox.configure({ interfaceName, addresses: addressesOf(endpoint), gateways, sysctls });
  await links.forwarding(hostInterfaceName, signal);
  await sandbox.reachable(addressesOf(endpoint), signal);
  await sandbox.announce(interfaceName, macAddress);
}

/** The addresses of an endpoint, those of IPv4 first. */
export function addressesOf({
  ipv4Address,
  ipv6Address,
}: Pick<Endpoint, 'ipv4Address' | 'ipv6Address'>): { address: string; prefixLength: number }[] {
  return [ipv4Address, ipv6Address].flatMap((text) =>
    text === undefined
      ? []
      : { address: text.split('/')[0]!, prefixLength: parseCidr(text).range.prefixLength },
  );
}

function withPrefix({ address, prefixLength }: SpaceAddress): string {
  return `${address}/${prefixLength}`;
}

/** A datagram flow that was there before its port was published would go on to be answered by the host. */
async function forgetStaleFlows(links: BridgeLinks, ports: readonly PublishedPort[]): Promise<void> {
  const stale = ports.filter(({ protocol }) => protocol === 'udp');
  if (stale.length === 0) return;
  await links.forgetPorts(
    stale.map(({ protocol, hostIp, hostPort }) => ({
      family: familyOf(hostIp),
      protocol: PROTOCOL_NUMBER[protocol],
      port: hostPort,
    })),
  );
}

async function openStanding(kernel: NetworkKernel, path: string): Promise<Sandbox | undefined> {
  try {
    return await Sandbox.open(kernel, path);
  } catch (error) {
    if (error instanceof NetworkError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** Without its ports a container is still a container. */
function holdAgain(
  tools: EndpointTools,
  network: BridgeNetwork,
  endpoint: Endpoint,
  failures: unknown[],
): HeldPorts {
  const held = new HeldPorts();
  const own = addressesOf(endpoint).map(({ address }) => address);
  for (const { hostIp, ...port } of endpoint.ports) {
    const family = familyOf(hostIp);
    // one that is reached at the endpoint's own address is held nowhere
    const mapping = { ...port, hostIp: own.includes(hostIp) ? (family === 4 ? ANY_IPV4 : ANY_IPV6) : hostIp };
    try {
      held.absorb(tools.ports.hold(portRequests(tools, network, endpoint, [mapping])));
    } catch (error) {
      failures.push(error);
    }
  }
  return held;
}
