/** Container networking by netlink: a bridge driver, and the seams that its parts are swapped at. */

export { createBridgeDriver, type BridgeDriver, type BridgeDriverOptions } from './bridge.ts';
export {
  DNS_ADDRESS,
  openDnsServer,
  type DnsServer,
  type DnsServerOptions,
  type DnsZone,
} from './dns/server.ts';
export type { Upstream } from './dns/forward.ts';
export type {
  Endpoint,
  EndpointConfig,
  Network,
  NetworkConfig,
  NetworkDriver,
  PortMapping,
  PortProtocol,
  PublishedPort,
} from './driver.ts';
export {
  DnsDecodeError,
  NetdriverError,
  NetlinkDecodeError,
  NetlinkError,
  NetworkError,
  type NetworkErrorCode,
  type NetworkErrorDetails,
} from './errors.ts';
export { createNoFirewall } from './firewall-none.ts';
export { createNftablesFirewall } from './firewall-nftables.ts';
export type { Firewall, FirewallEndpoint, FirewallNetwork, FirewallState } from './firewall.ts';
export { DEFAULT_POOLS, type AddressPool } from './ipam.ts';
export type { NetworkKernel, PortReservation, SocketKernel } from './kernel.ts';
export { nativeKernel } from './native-kernel.ts';
export type { NetlinkTransport } from './netlink/connection.ts';
export { bringUpLoopback } from './none.ts';
