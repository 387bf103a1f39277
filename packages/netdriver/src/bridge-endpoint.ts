/** Endpoints of the bridge driver: making them, taking them up after a crash, and undoing them. */

import { randomBytes } from 'node:crypto';

import { checkInterfaceName } from './bridge-config.ts';
import { randomMac, type BridgeLinks } from './bridge-links.ts';
import type { Attachment, BridgeNetwork } from './bridge-network.ts';
import type { DefaultRoute, Endpoint, EndpointConfig } from './driver.ts';
import {
  addressesOf,
  describeAddresses,
  gatewaysOf,
  spaceOf,
  takeAddresses,
  withPrefix,
} from './endpoint-addresses.ts';
import { forgetStaleFlows, holdAgain, portRequests, translated, type PortTools } from './endpoint-ports.ts';
import { NetworkError } from './errors.ts';
import type { FirewallEndpoint } from './firewall.ts';
import { configured } from './ipam.ts';
import type { NetworkKernel } from './kernel.ts';
import { macBytes, type Link } from './netlink/link.ts';
import { Rollback, settleAll } from './operation-order.ts';
import type { HeldPorts } from './port-allocator.ts';
import { Sandbox, sysctlPaths } from './sandbox.ts';
import { filtersBridgedPackets } from './sysctl.ts';

/** What endpoints are made with. */
export interface EndpointTools extends PortTools {
  readonly kernel: NetworkKernel;
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
    rollback.defer(() => {
      for (const taken of [ipv4, ipv6]) if (taken) giveAddressBack(network, taken.address);
    });
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
      bringUp(links, network, endpoint, sandbox, sysctls, signal),
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
  await settleAll('detaching', [
    firewall.removeEndpoint(endpoint.id, network.settings.bridgeName),
    links.bury([{ index: hostIndex }], { bridgeIndex: network.bridgeIndex, addresses }),
  ]);
  // only now does nothing lead there any more that could make new ones
  await links.forgetFlows(addresses);
  held.release();
  for (const address of addresses) giveAddressBack(network, address);
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
      await bringUp(links, network, endpoint, sandbox, {});
      return { ...made, hostIndex };
    }
    if (link.master !== network.bridgeIndex) await links.join(link.index, network.bridgeIndex);
    return { ...made, hostIndex: link.index };
  } catch (error) {
    throw await rollback.run(error);
  }
}

function giveAddressBack(network: BridgeNetwork, address: string): void {
  spaceOf(network, address)?.release(address);
  network.former?.add(address);
}

/** Leads the sandbox's default route through the endpoint, or no longer. */
export async function setEndpointRoute(
  { kernel }: EndpointTools,
  network: BridgeNetwork,
  attachment: Attachment,
  route: DefaultRoute,
): Promise<Endpoint> {
  const { endpoint } = attachment;
  const [ipv4, ipv6] = describeAddresses(network, endpoint);
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
  const filtered = filtersBridgedPackets(4, 6);
  const hairpin = filtered;
  const isolated = !filtered && !icc;
  if (hairpin || isolated) await links.setPort(link.index, { hairpin, isolated });
  return link.index;
}

/** Configures the inside of an endpoint, and resolves once packets come and go. */
async function bringUp(
  links: BridgeLinks,
  network: BridgeNetwork,
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
  // everybody on the bridge gets to hear it, which a thousand neighbours make costly: not for what nobody can know
  const { former } = network;
  const known = !former || addressesOf(endpoint).some(({ address }) => former.has(address));
  if (known) await sandbox.announce(interfaceName, macAddress);
}

async function openStanding(kernel: NetworkKernel, path: string): Promise<Sandbox | undefined> {
  try {
    return await Sandbox.open(kernel, path);
  } catch (error) {
    if (error instanceof NetworkError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
