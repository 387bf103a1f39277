/** Published ports of endpoints: what is held for them on the host, and what leads to them. */

import type { Attachment, BridgeNetwork } from './bridge-network.ts';
import type { BridgeLinks } from './bridge-links.ts';
import type { Endpoint, PortMapping, PublishedPort } from './driver.ts';
import { addressesOf } from './endpoint-addresses.ts';
import { NetworkError } from './errors.ts';
import type { Firewall } from './firewall.ts';
import { HeldPorts, type PortAllocator, type PortRequest } from './port-allocator.ts';
import { ANY_IPV4, ANY_IPV6, checkPortMapping, familyOf, PROTOCOL_NUMBER } from './ports.ts';
import { filtersBridgedPackets, hasIpv6 } from './sysctl.ts';

/** What ports are published with. */
export interface PortTools {
  readonly links: BridgeLinks;
  readonly firewall: Firewall;
  readonly ports: PortAllocator;
  /** Whether this process may forward where the kernel cannot. */
  readonly userlandProxy: boolean;
}

/** Publishes more ports of an endpoint, all of them or none. */
export async function publishPorts(
  tools: PortTools,
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
  { links, firewall }: PortTools,
  network: BridgeNetwork,
  { endpoint, held }: Attachment,
  ports: readonly PublishedPort[],
): Promise<void> {
  const remove = translated(endpoint, ports);
  await firewall.changePorts(endpoint.id, network.settings.bridgeName, { remove });
  await forgetStaleFlows(links, ports);
  held.release(ports);
}

/** Those that the packet filter leads to the endpoint: of a family that it has. */
export function translated(endpoint: Endpoint, ports: readonly PublishedPort[]): PublishedPort[] {
  return ports.filter(({ hostIp }) =>
    familyOf(hostIp) === 4 ? endpoint.ipv4Address !== undefined : endpoint.ipv6Address !== undefined,
  );
}

/**
 * What is to be held for the mappings of an endpoint.
 *
 * @throws {NetworkError} `INVALID_CONFIG`
 */
export function portRequests(
  { userlandProxy }: PortTools,
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

/** Takes the ports of an endpoint again; without some of them a container is still a container. */
export function holdAgain(
  tools: PortTools,
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

/** A datagram flow that was there before its port was published would go on to be answered by the host. */
export async function forgetStaleFlows(links: BridgeLinks, ports: readonly PublishedPort[]): Promise<void> {
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
