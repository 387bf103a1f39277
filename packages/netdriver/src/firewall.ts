/** The packet-filter seam: what the bridge driver asks of whatever translates, admits and drops packets. */

import type { GatewayMode } from './bridge-config.ts';
import type { PublishedPort } from './driver.ts';

/** What a firewall must know of one address family of a network. */
export interface FirewallFamily {
  /** See {@link GatewayMode}. */
  mode: GatewayMode;
  /** Source NAT for what leaves through another interface. */
  masquerade: boolean;
  /** The source address that it gets; that of the interface when absent. */
  sourceAddress: string | undefined;
  /** The network's own addresses, which no endpoint may claim. */
  gateways: readonly string[];
}

/** What a firewall must know of a network. */
export interface FirewallNetwork {
  bridgeName: string;
  /** Nothing is forwarded out of it or into it. */
  internal: boolean;
  /** Endpoints may talk to each other. */
  icc: boolean;
  /** Interfaces of the host from which every port of every endpoint is reached. */
  trustedInterfaces: readonly string[];
  ipv4: FirewallFamily | undefined;
  ipv6: FirewallFamily | undefined;
}

/** What a firewall must know of an endpoint. */
export interface FirewallEndpoint {
  /** The caller's name for it; for humans who look at the rules. */
  id: string;
  bridgeName: string;
  /** The bridge's port that leads to it. */
  hostInterfaceName: string;
  macAddress: string;
  /** Without prefix length. */
  ipv4Address: string | undefined;
  ipv6Address: string | undefined;
  /** Those that are translated or let through; the host address of each is of the family that it leads to. */
  ports: readonly PublishedPort[];
}

/** Everything a firewall should let through. */
export interface FirewallState {
  networks: readonly FirewallNetwork[];
  endpoints: readonly FirewallEndpoint[];
}

/**
 * Admits, translates and drops the packets of bridge networks:
 * - published ports lead to their container, from everywhere, and keep the client's address;
 * - everything else that is forwarded into a network is dropped, from other networks too;
 * - what leaves a network gets the host's address;
 * - the loopback networks of the host are not reachable from outside of it;
 * - no endpoint passes for another one, for the network's gateway or for a router.
 *
 * Each call takes effect as a whole or not at all. Networks are told before their endpoints, and forgotten after them.
 */
export interface Firewall {
  addNetwork(network: FirewallNetwork): Promise<void>;
  removeNetwork(bridgeName: string): Promise<void>;
  addEndpoint(endpoint: FirewallEndpoint): Promise<void>;
  /** Forgetting an endpoint that is not known does nothing. */
  removeEndpoint(id: string, bridgeName: string): Promise<void>;
  /** Publishes more ports of an endpoint that is known, or takes some back. */
  changePorts(
    id: string,
    bridgeName: string,
    change: { add?: readonly PublishedPort[]; remove?: readonly PublishedPort[] },
  ): Promise<void>;
  /** Replaces whatever stands, also what another process left, by this and nothing else. */
  replace(state: FirewallState): Promise<void>;
  /** Removes every trace from the kernel. */
  destroy(): Promise<void>;
  /** Lets go of sockets; what stands in the kernel stays. Twice is fine. */
  close(): void;
}
