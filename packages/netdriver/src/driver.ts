/**
 * The network seam: what a container engine asks of whatever connects its containers.
 *
 * Words: a *network* is a set of subnets and the link that carries them, a bridge or a parent interface; a *sandbox* is
 * a network namespace, named by the path it is bound to; an *endpoint* is one sandbox's attachment to one network.
 *
 * The driver keeps no policy and no names: ids are the caller's. What it made is marked as its own in the kernel, so
 * that `reconcile` can tell it from everybody else's.
 */

/** Transport protocols that ports can be published for. */
export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** One subnet of a network. Addresses are text (`172.17.0.0/16`, `fd00::/64`). */
export interface SubnetConfig {
  /**
   * Of either family. `0.0.0.0/24` and `::/80` ask for any free subnet of that size.
   */
  subnet: string;
  /** The network's own address, where endpoints send what leaves it; the first of the subnet when absent. */
  gateway?: string;
  /** Restricts dynamic addresses to this part of the subnet. */
  ipRange?: string;
  /** Addresses that are never given out: somebody else has them. */
  reserved?: readonly string[];
  /** Where endpoints send what leaves the network, when it is not `gateway`: a router beside it. */
  router?: string;
}

/** A network to create. */
export interface NetworkConfig {
  id: string;
  /** IPv4 addresses for endpoints. Default true. */
  ipv4?: boolean;
  /** IPv6 addresses for endpoints. Default false. */
  ipv6?: boolean;
  /**
   * Endpoints get one address of each family, of its first subnet that has a free one. A family that is on and has no
   * subnet here gets one from the driver's pools.
   */
  subnets?: readonly SubnetConfig[];
  /** In bytes. Default: what the driver's links have. */
  mtu?: number;
  /** No way out of and into this network. Default false. */
  internal?: boolean;
}

/** A subnet as it is. */
export interface Subnet extends SubnetConfig {
  /** Absent where the network has no address of its own. */
  gateway?: string;
}

/** A network as it is. */
export interface Network {
  id: string;
  /** Name of the link that carries it: the bridge, or the parent interface. */
  linkName: string;
  subnets: Subnet[];
  mtu: number;
  internal: boolean;
}

/** A port to publish. */
export interface PortMapping {
  protocol: PortProtocol;
  containerPort: number;
  /** Address on the host; `0.0.0.0` or `::` for every one of a family. Default: every address of either family. */
  hostIp?: string;
  /** Port on the host, or a range to take the first free one of; an ephemeral one when absent. */
  hostPort?: number | { from: number; to: number };
}

/** A port as published. One mapping for every address is two of these, with one port number. */
export interface PublishedPort {
  protocol: PortProtocol;
  containerPort: number;
  hostIp: string;
  hostPort: number;
}

/** Families of which an endpoint's network is the way to everywhere else. */
export type DefaultRoute = boolean | { ipv4: boolean; ipv6: boolean };

/** An attachment to make. */
export interface EndpointConfig {
  id: string;
  /** Path of the sandbox's network namespace. */
  sandbox: string;
  /** Interface name inside the sandbox; default `eth0`. */
  interfaceName?: string;
  /** A fixed address of one of the network's subnets; the next free one when absent. */
  ipv4Address?: string;
  /** The same for IPv6. */
  ipv6Address?: string;
  /** Default: a random locally administered one. */
  macAddress?: string;
  /** Make this network's gateway the sandbox's default route. Default true. */
  defaultRoute?: DefaultRoute;
  ports?: readonly PortMapping[];
  /** Settings of the sandbox by name, such as `net.ipv4.conf.IFNAME.log_martians`; IFNAME is the interface's name. */
  sysctls?: Readonly<Record<string, string>>;
}

/** An attachment as made. */
export interface Endpoint {
  id: string;
  networkId: string;
  interfaceName: string;
  /** Interface name of the host's end; empty where there is none. */
  hostInterfaceName: string;
  macAddress: string;
  /** With prefix length, for example `172.17.0.2/16`. */
  ipv4Address?: string;
  /** With prefix length, for example `fd00::2/64`. */
  ipv6Address?: string;
  /** The default route that leads through this network, if one does. */
  gateway?: string;
  /** The same for IPv6. */
  gateway6?: string;
  ports: PublishedPort[];
}

/** An endpoint that should be, for {@link NetworkDriver.reconcile}. */
export interface IntendedEndpoint {
  networkId: string;
  endpoint: Endpoint;
  sandbox: string;
}

/** Connects sandboxes. Failing calls leave nothing behind. */
export interface NetworkDriver<Config extends NetworkConfig = NetworkConfig> {
  /**
   * Makes the network, or takes over the one that stands, when it is this driver's and the same.
   *
   * @throws {NetworkError} `ADDRESS_OVERLAP`, `POOL_EXHAUSTED`, `INVALID_CONFIG`, `ALREADY_EXISTS`, `UNSUPPORTED`
   */
  createNetwork(config: Config, options?: { signal?: AbortSignal }): Promise<Network>;
  /** @throws {NetworkError} `IN_USE` while endpoints are attached */
  removeNetwork(networkId: string): Promise<void>;
  /**
   * Attaches a sandbox, also one whose processes run. When it resolves, the interface is up and the ports are reachable.
   *
   * @throws {NetworkError} `PORT_IN_USE`, `ADDRESS_IN_USE`, `NO_FREE_ADDRESS`, `NOT_FOUND`
   */
  attach(networkId: string, endpoint: EndpointConfig, options?: { signal?: AbortSignal }): Promise<Endpoint>;
  /** Detaches; returns once nothing can reach the endpoint. Detaching what is not attached does nothing. */
  detach(networkId: string, endpointId: string): Promise<void>;
  /**
   * Makes an endpoint's network the way to everywhere else for its sandbox, in place of whichever is, or no longer.
   *
   * @throws {NetworkError} `NOT_FOUND`
   */
  setDefaultRoute(networkId: string, endpointId: string, route: DefaultRoute): Promise<Endpoint>;
  /**
   * Publishes more ports of an endpoint, all of them or none.
   *
   * @throws {NetworkError} `PORT_IN_USE`, `NOT_FOUND`, `UNSUPPORTED`
   */
  publish(networkId: string, endpointId: string, ports: readonly PortMapping[]): Promise<PublishedPort[]>;
  /** Takes published ports back; those that are not published are passed by. */
  unpublish(networkId: string, endpointId: string, ports: readonly PublishedPort[]): Promise<void>;
  networks(): Promise<Network[]>;
  endpoints(networkId: string): Promise<Endpoint[]>;
  /**
   * Makes the kernel match `intended` after a crash, a reboot or a foreign hand: repairs what should be there,
   * removes what the driver made and should not.
   */
  reconcile(intended: { networks: readonly Config[]; endpoints: readonly IntendedEndpoint[] }): Promise<void>;
  /** Removes every trace of this driver from the kernel: networks, endpoints, tables. */
  destroy(): Promise<void>;
}
