/**
 * The network seam: what a container engine asks of whatever connects its containers.
 *
 * Words: a *network* is an address pool and the bridge that carries it; a *sandbox* is a network namespace, named by
 * the path it is bound to; an *endpoint* is one sandbox's attachment to one network.
 *
 * The driver keeps no policy and no names: ids are the caller's. What it made is marked as its own in the kernel, so
 * that `reconcile` can tell it from everybody else's.
 */

/** Transport protocols that ports can be published for. */
export type PortProtocol = 'tcp' | 'udp';

/** A network to create. Addresses are text (`172.17.0.0/16`, `fd00::/64`). */
export interface NetworkConfig {
  id: string;
  /** Interface name of the bridge, at most 15 bytes. */
  bridgeName: string;
  /** The pool's subnet; chosen from the driver's default pools when absent. */
  subnet?: string;
  /** The bridge's own address; the first of the subnet when absent. */
  gateway?: string;
  /** Restricts dynamic addresses to this part of the subnet. */
  ipRange?: string;
  /** In bytes; default 1500. */
  mtu?: number;
  /** No way out of and into this network. Default false. */
  internal?: boolean;
  /** Endpoints may talk to each other. Default true. */
  icc?: boolean;
  /** Source NAT for traffic that leaves the host. Default true. */
  masquerade?: boolean;
}

/** A network as it is. */
export interface Network {
  id: string;
  bridgeName: string;
  subnet: string;
  gateway: string;
  mtu: number;
  internal: boolean;
}

/** A port to publish. */
export interface PortMapping {
  protocol: PortProtocol;
  containerPort: number;
  /** Address on the host; default `0.0.0.0`, every IPv4 address. */
  hostIp?: string;
  /** Port on the host, or a range to take the first free one of; an ephemeral one when absent. */
  hostPort?: number | { from: number; to: number };
}

/** A port as published. */
export interface PublishedPort {
  protocol: PortProtocol;
  containerPort: number;
  hostIp: string;
  hostPort: number;
}

/** An attachment to make. */
export interface EndpointConfig {
  id: string;
  /** Path of the sandbox's network namespace. */
  sandbox: string;
  /** Interface name inside the sandbox; default `eth0`. */
  interfaceName?: string;
  /** A fixed address of the network's subnet; the next free one when absent. */
  ipv4Address?: string;
  /** Default: a random locally administered one. */
  macAddress?: string;
  /** Make this network's gateway the sandbox's default route. Default true. */
  defaultRoute?: boolean;
  ports?: PortMapping[];
}

/** An attachment as made. */
export interface Endpoint {
  id: string;
  networkId: string;
  interfaceName: string;
  /** Interface name of the host's end. */
  hostInterfaceName: string;
  macAddress: string;
  /** With prefix length, for example `172.17.0.2/16`. */
  ipv4Address: string;
  gateway: string | undefined;
  ports: PublishedPort[];
}

/** Connects sandboxes. Failing calls leave nothing behind. */
export interface NetworkDriver {
  /**
   * Makes the network, or takes over the one that stands, when it is this driver's and the same.
   *
   * @throws {NetworkError} `ADDRESS_OVERLAP`, `POOL_EXHAUSTED`, `INVALID_CONFIG`, `ALREADY_EXISTS`
   */
  createNetwork(config: NetworkConfig, options?: { signal?: AbortSignal }): Promise<Network>;
  /** @throws {NetworkError} `IN_USE` while endpoints are attached */
  removeNetwork(networkId: string): Promise<void>;
  /**
   * Attaches a sandbox. When it resolves, the interface is up and the ports are reachable.
   *
   * @throws {NetworkError} `PORT_IN_USE`, `ADDRESS_IN_USE`, `NO_FREE_ADDRESS`, `NOT_FOUND`
   */
  attach(networkId: string, endpoint: EndpointConfig, options?: { signal?: AbortSignal }): Promise<Endpoint>;
  /** Detaches; returns once nothing can reach the endpoint. Detaching what is not attached does nothing. */
  detach(networkId: string, endpointId: string): Promise<void>;
  networks(): Promise<Network[]>;
  endpoints(networkId: string): Promise<Endpoint[]>;
  /**
   * Makes the kernel match `intended` after a crash, a reboot or a foreign hand: repairs what should be there,
   * removes what the driver made and should not.
   */
  reconcile(intended: {
    networks: NetworkConfig[];
    endpoints: { networkId: string; endpoint: Endpoint; sandbox: string }[];
  }): Promise<void>;
  /** Removes every trace of this driver from the kernel: networks, endpoints, tables. */
  destroy(): Promise<void>;
}
