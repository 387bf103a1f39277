/** Container networking by netlink: a bridge driver, and the seams that its parts are swapped at. */

export { openAddressBook, type AddressBook } from './address-book.ts';
export type { AddressRange } from './address-range.ts';
export type { BridgeNetworkConfig, GatewayMode } from './bridge-config.ts';
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
  DefaultRoute,
  Endpoint,
  EndpointConfig,
  IntendedEndpoint,
  Network,
  NetworkConfig,
  NetworkDriver,
  PortMapping,
  PortProtocol,
  PublishedPort,
  Subnet,
  SubnetConfig,
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
export { ACCEPT_MARK, createNftablesFirewall, type NftablesFirewallOptions } from './firewall-nftables.ts';
export type {
  Firewall,
  FirewallEndpoint,
  FirewallFamily,
  FirewallNetwork,
  FirewallState,
} from './firewall.ts';
export { hostPools } from './host-pools.ts';
export { DEFAULT_POOLS, uniqueLocalPool, type AddressPool } from './ipam.ts';
export type { NetworkKernel, PortReservation, SocketKernel } from './kernel.ts';
export { nativeKernel } from './native-kernel.ts';
export type { NetlinkTransport } from './netlink/connection.ts';
export type { NetlinkEventSource } from './netlink/events.ts';
export { bringUpLoopback } from './none.ts';
export { openUplink, type Uplink, type UplinkOptions, type UplinkProgram } from './uplink.ts';
export {
  createIpvlanDriver,
  createMacvlanDriver,
  type IpvlanNetworkConfig,
  type MacvlanNetworkConfig,
  type VlanDriverOptions,
} from './vlan.ts';
