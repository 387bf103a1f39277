/** Endpoints of the bridge driver: making them, taking them up after a crash, and undoing them. */

import { randomBytes } from 'node:crypto';

import { checkInterfaceName, type NetworkSettings } from './bridge-config.ts';
import { randomMac, type BridgeLinks } from './bridge-links.ts';
import type { Attachment, BridgeNetwork } from './bridge-network.ts';
import type { Endpoint, EndpointConfig, PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { Firewall, FirewallEndpoint } from './firewall.ts';
import { configured } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { macBytes, type Link } from './netlink/link.ts';
import { Rollback, settleAll } from './operation-order.ts';
import type { HeldPorts, PortAllocator } from './port-allocator.ts';
import { PROTOCOL_NUMBER } from './ports.ts';
import { Sandbox } from './sandbox.ts';
import { filtersBridgedPackets } from './sysctl.ts';

/** What endpoints are made with. */
export interface EndpointTools {
  readonly kernel: NetworkKernel;
  readonly links: BridgeLinks;
  readonly firewall: Firewall;
  readonly ports: PortAllocator;
}

/** Attaches a sandbox; when it resolves, the interface is up and the ports are reachable. Fails without a trace. */
export async function attachEndpoint(
  tools: EndpointTools,
  network: BridgeNetwork,
  config: EndpointConfig,
  signal?: AbortSignal,
): Promise<Attachment> {
  const { links, firewall } = tools;
  const { settings, addresses } = network;
  const { interfaceName = 'eth0', macAddress = randomMac(), defaultRoute = true } = config;
  checkInterfaceName(interfaceName);
  configured(`endpoint ${config.id}`, () => macBytes(macAddress));
  const rollback = new Rollback();
  try {
    const address = addresses.allocate(config.ipv4Address);
    rollback.defer(() => addresses.release(address));
    // nothing comes into an internal network, so nothing is published from it
    const held = tools.ports.hold(settings.internal ? [] : (config.ports ?? []));
    rollback.defer(() => held.release());
    const endpoint: Endpoint = {
      id: config.id,
      networkId: settings.id,
      interfaceName,
      // never one that was used before: its pair may still be waiting to be deleted
      hostInterfaceName: `veth${randomBytes(4).toString('hex')}`,
      macAddress: macAddress.toLowerCase(),
      ipv4Address: `${address}/${addresses.subnet.prefixLength}`,
      gateway: defaultRoute && !settings.internal ? network.network.gateway : undefined,
      ports: held.ports,
    };
    using sandbox = await Sandbox.open(tools.kernel, config.sandbox);
    rollback.defer(async () => {
      const link = await links.find(endpoint.hostInterfaceName);
      if (link) await links.bury([link]);
    });
    const hostIndex = await connect(links, network, endpoint, sandbox);
    signal?.throwIfAborted();
    rollback.defer(() => firewall.removeEndpoint(endpoint.id, settings.bridgeName));
    await settleAll('attaching', [
      firewall.addEndpoint(firewallEndpoint(settings, endpoint)),
      bringUp(links, endpoint, sandbox, signal),
    ]);
    await forgetStaleFlows(links, endpoint.ports);
    signal?.throwIfAborted();
    return { endpoint, address, hostIndex, held };
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
  { settings, bridgeIndex, addresses }: BridgeNetwork,
  { endpoint, address, hostIndex, held }: Attachment,
): Promise<void> {
  await firewall.removeEndpoint(endpoint.id, settings.bridgeName);
  await links.bury([{ index: hostIndex }]);
  await links.forgetAddress(bridgeIndex, address);
  held.release();
  addresses.release(address);
}

/**
 * Takes up an endpoint that an earlier process, or this one, made: its link if that stands, a new one if not. Port
 * reservations that are still held are kept. The packet filter is not told.
 *
 * @returns undefined when its sandbox is gone; and in `failures` what the endpoint had to be taken up without
 */
export async function adoptEndpoint(
  { kernel, links, ports }: EndpointTools,
  network: BridgeNetwork,
  intended: { endpoint: Endpoint; sandbox: string },
  found: { link: Link | undefined; held: HeldPorts | undefined },
  failures: unknown[],
): Promise<Attachment | undefined> {
  using sandbox = await openStanding(kernel, intended.sandbox);
  if (!sandbox) return undefined;
  const { link } = found;
  const address = endpointAddress(intended.endpoint).address;
  const rollback = new Rollback();
  try {
    network.addresses.allocate(address);
    rollback.defer(() => network.addresses.release(address));
    let held = found.held;
    if (!held) {
      held = holdAgain(ports, intended.endpoint.ports, failures);
      rollback.defer(() => held?.release());
    }
    const endpoint = { ...intended.endpoint, ports: held.ports };
    if (!link) {
      const hostIndex = await connect(links, network, endpoint, sandbox);
      rollback.defer(() => links.bury([{ index: hostIndex }]));
      await bringUp(links, endpoint, sandbox);
      return { endpoint, address, hostIndex, held };
    }
    if (link.master !== network.bridgeIndex) await links.join(link.index, network.bridgeIndex);
    return { endpoint, address, hostIndex: link.index, held };
  } catch (error) {
    throw await rollback.run(error);
  }
}

/** What the packet filter must know of an endpoint. */
export function firewallEndpoint({ bridgeName }: NetworkSettings, endpoint: Endpoint): FirewallEndpoint {
  return { id: endpoint.id, bridgeName, address: endpointAddress(endpoint).address, ports: endpoint.ports };
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
  const filtered = filtersBridgedPackets();
  const hairpin = filtered && endpoint.ports.length > 0;
  const isolated = !filtered && !icc;
  if (hairpin || isolated) await links.setPort(link.index, { hairpin, isolated });
  return link.index;
}

/** Configures the inside of an endpoint, and resolves once packets come and go. */
async function bringUp(
  links: BridgeLinks,
  endpoint: Endpoint,
  sandbox: Sandbox,
  signal?: AbortSignal,
): Promise<void> {
  const { interfaceName, hostInterfaceName, macAddress, gateway } = endpoint;
  await sandbox.configure({ interfaceName, ...endpointAddress(endpoint), gateway });
  await links.forwarding(hostInterfaceName, signal);
  await sandbox.announce(interfaceName, macAddress);
}

function endpointAddress({ ipv4Address }: Endpoint): { address: string; prefixLength: number } {
  const [address = '', prefixLength] = ipv4Address.split('/');
  return { address, prefixLength: Number(prefixLength) };
}

/** A datagram flow that was there before its port was published would go on to be answered by the host. */
async function forgetStaleFlows(links: BridgeLinks, ports: readonly PublishedPort[]): Promise<void> {
  const stale = ports.filter(({ protocol }) => protocol === 'udp');
  if (stale.length === 0) return;
  await links.forgetPorts(
    stale.map(({ protocol, hostPort }) => ({ protocol: PROTOCOL_NUMBER[protocol], port: hostPort })),
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
  ports: PortAllocator,
  published: readonly PublishedPort[],
  failures: unknown[],
): HeldPorts {
  try {
    return ports.hold(published);
  } catch (error) {
    failures.push(error);
    return { ports: [], release: () => undefined };
  }
}
