/** The packet-filter seam: what the bridge driver asks of whatever translates, admits and drops packets. */

import type { PublishedPort } from './driver.ts';

/** What a firewall must know of a network. */
export interface FirewallNetwork {
  bridgeName: string;
  /** Nothing is forwarded out of it or into it. */
  internal: boolean;
  /** Endpoints may talk to each other. */
  icc: boolean;
  /** Source NAT for what leaves through another interface. */
  masquerade: boolean;
}

/** What a firewall must know of an endpoint. */
export interface FirewallEndpoint {
  /** The caller's name for it; for humans who look at the rules. */
  id: string;
  bridgeName: string;
  /** Without prefix length. */
  address: string;
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
 * - 127.0.0.0/8 of the host is not reachable from outside of it.
 *
 * Each call takes effect as a whole or not at all. Networks are told before their endpoints, and forgotten after them.
 */
export interface Firewall {
  addNetwork(network: FirewallNetwork): Promise<void>;
  removeNetwork(bridgeName: string): Promise<void>;
  addEndpoint(endpoint: FirewallEndpoint): Promise<void>;
  /** Forgetting an endpoint that is not known does nothing. */
  removeEndpoint(id: string, bridgeName: string): Promise<void>;
  /** Replaces whatever stands, also what another process left, by this and nothing else. */
  replace(state: FirewallState): Promise<void>;
  /** Removes every trace from the kernel. */
  destroy(): Promise<void>;
  /** Lets go of sockets; what stands in the kernel stays. Twice is fine. */
  close(): void;
}
