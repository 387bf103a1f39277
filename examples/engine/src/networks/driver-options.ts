/** What Docker's words for a network mean to the drivers: options and pools, checked and translated. Pure. */
import type { BridgeNetworkConfig, GatewayMode, SubnetConfig } from '@tare/netdriver';

import { invalid } from '../errors.ts';
import type { IpamPool, NetworkRecord } from '../state/networks-table.ts';

/** Names of options, as `docker network create --opt` takes them. */
export const OPTION = {
  bridgeName: 'com.docker.network.bridge.name',
  defaultBridge: 'com.docker.network.bridge.default_bridge',
  icc: 'com.docker.network.bridge.enable_icc',
  masquerade: 'com.docker.network.bridge.enable_ip_masquerade',
  hostBinding: 'com.docker.network.bridge.host_binding_ipv4',
  inhibitIpv4: 'com.docker.network.bridge.inhibit_ipv4',
  gatewayMode4: 'com.docker.network.bridge.gateway_mode_ipv4',
  gatewayMode6: 'com.docker.network.bridge.gateway_mode_ipv6',
  trusted: 'com.docker.network.bridge.trusted_host_interfaces',
  mtu: 'com.docker.network.driver.mtu',
  source4: 'com.docker.network.host_ipv4',
  source6: 'com.docker.network.host_ipv6',
  interfacePrefix: 'com.docker.network.container_iface_prefix',
  /** Of endpoints. */
  interfaceName: 'com.docker.network.endpoint.ifname',
  sysctls: 'com.docker.network.endpoint.sysctls',
} as const;

/** Auxiliary addresses that are the containers' router in place of the bridge. */
const ROUTER_KEYS = ['DefaultGatewayIPv4', 'DefaultGatewayIPv6'];
const GATEWAY_MODES: readonly GatewayMode[] = ['nat', 'nat-unprotected', 'routed', 'isolated'];
/** What interfaces of containers are named by, with a number behind it. */
const DEFAULT_PREFIX = 'eth';

/** What a bridge network is made with. @throws {EngineError} `INVALID` in dockerd's words */
export function bridgeConfig(record: NetworkRecord): BridgeNetworkConfig {
  const { options } = record;
  const mode = (name: string): GatewayMode | undefined => {
    const value = options[name];
    if (value === undefined || value === '') return undefined;
    const found = GATEWAY_MODES.find((known) => known === value);
    if (!found) throw invalid(`unknown gateway mode ${value}`);
    return found;
  };
  return defined({
    ...commonConfig(record),
    bridgeName: record.bridgeName,
    icc: flag(options, OPTION.icc, true),
    masquerade: flag(options, OPTION.masquerade, true),
    gatewayMode4: mode(OPTION.gatewayMode4),
    gatewayMode6: mode(OPTION.gatewayMode6),
    // dockerd takes the two unspecified addresses for "every one of that family"
    hostBinding: options[OPTION.hostBinding] === '0.0.0.0' ? undefined : text(options, OPTION.hostBinding),
    inhibitIpv4: flag(options, OPTION.inhibitIpv4, false),
    trustedInterfaces: text(options, OPTION.trusted)?.split(':'),
    sourceAddress4: text(options, OPTION.source4),
    sourceAddress6: text(options, OPTION.source6),
  });
}

/** What networks of every driver are made with. @throws {EngineError} `INVALID` in dockerd's words */
export function commonConfig(record: NetworkRecord) {
  const { id, internal, ipv4 = true, ipv6 = false, options, ipam } = record;
  const mtuText = options[OPTION.mtu];
  const mtu = Number(mtuText ?? 0);
  if (!Number.isInteger(mtu) || mtu < 0) throw invalid(`invalid value for ${OPTION.mtu}: ${mtuText}`);
  const subnets = ipam.pools.filter(({ Subnet }) => Subnet).map(subnetConfig);
  return defined({ id, internal, ipv4, ipv6, subnets, mtu: mtu === 0 ? undefined : mtu });
}

/** What the interfaces of a network's endpoints are named by. */
export function interfacePrefix({ options }: NetworkRecord): string {
  return text(options, OPTION.interfacePrefix) ?? DEFAULT_PREFIX;
}

/** What an endpoint's own options say. @throws {EngineError} `INVALID` */
export function endpointOptions(options: Readonly<Record<string, string>> | undefined): {
  interfaceName?: string;
  sysctls?: Record<string, string>;
} {
  const name = options?.[OPTION.interfaceName];
  const list = options?.[OPTION.sysctls];
  const sysctls = (list ? list.split(',') : []).map((entry) => {
    const at = entry.indexOf('=');
    if (at < 1) throw invalid(`invalid value for ${OPTION.sysctls}: ${entry} is not name=value`);
    return [entry.slice(0, at), entry.slice(at + 1)] as const;
  });
  return {
    ...(name ? { interfaceName: name } : {}),
    ...(sysctls.length > 0 ? { sysctls: Object.fromEntries(sysctls) } : {}),
  };
}

function subnetConfig({ Subnet, IPRange, Gateway, AuxiliaryAddresses = {} }: IpamPool): SubnetConfig {
  const entries = Object.entries(AuxiliaryAddresses);
  const reserved = entries.filter(([key]) => !ROUTER_KEYS.includes(key)).map(([, address]) => address);
  const router = entries.find(([key]) => ROUTER_KEYS.includes(key))?.[1];
  return {
    subnet: Subnet!,
    ...(Gateway ? { gateway: Gateway } : {}),
    ...(IPRange ? { ipRange: IPRange } : {}),
    ...(reserved.length > 0 ? { reserved } : {}),
    ...(router === undefined ? {} : { router }),
  };
}

function text(options: Readonly<Record<string, string>>, name: string): string | undefined {
  return options[name] || undefined;
}

/** As Go's strconv.ParseBool reads it. */
function flag(options: Readonly<Record<string, string>>, name: string, otherwise: boolean): boolean {
  const value = options[name];
  if (value === undefined || value === '') return otherwise;
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw invalid(`invalid value for ${name}: strconv.ParseBool: parsing "${value}": invalid syntax`);
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Without the properties that are undefined. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>;
}
