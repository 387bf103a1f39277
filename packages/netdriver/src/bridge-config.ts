/** What the bridge driver can be asked to make, and checks of it. */

import { isIPv4, isIPv6 } from 'node:net';

import type { NetworkConfig } from './driver.ts';
import { NetworkError } from './errors.ts';

/** `IFNAMSIZ` without the NUL. */
const NAME_BYTES = 15;
/** The least that IPv4 (RFC 791) and IPv6 (RFC 8200) run over, and the most that a 16-bit length can say. */
const MTU = { least: 68, leastIpv6: 1280, most: 65535 } as const;
const DEFAULT_MTU = 1500;

/**
 * How a network's endpoints and the world outside of the host meet, for one family of addresses:
 * - `nat`: what leaves gets the host's address, what comes in comes by published ports alone;
 * - `nat-unprotected`: as `nat`, and whoever has a route to the endpoints reaches all of their ports;
 * - `routed`: no addresses are translated; published ports are reached at the endpoints' own addresses;
 * - `isolated`: the network has no address of the host's at all. For internal networks.
 */
export type GatewayMode = 'nat' | 'nat-unprotected' | 'routed' | 'isolated';

/** A bridge network to create. */
export interface BridgeNetworkConfig extends NetworkConfig {
  /** Interface name of the bridge, at most 15 bytes. One that somebody else made is used and never removed. */
  bridgeName: string;
  /** Endpoints may talk to each other. Default true. */
  icc?: boolean;
  /** Source NAT for traffic that leaves the host. Default true. */
  masquerade?: boolean;
  /** Default `nat`. */
  gatewayMode4?: GatewayMode;
  /** Default `nat`. */
  gatewayMode6?: GatewayMode;
  /** Source address for IPv4 traffic that leaves the host; default that of the interface it leaves by. */
  sourceAddress4?: string;
  /** The same for IPv6. */
  sourceAddress6?: string;
  /** Host address of published ports that name none; default every address of either family. */
  hostBinding?: string;
  /** Interfaces of the host from which endpoints are reached directly, published or not. */
  trustedInterfaces?: readonly string[];
  /** The bridge gets no IPv4 address: somebody else sees to it. Default false. */
  inhibitIpv4?: boolean;
}

/** The settings of a network that do not depend on the state of the host. */
export interface NetworkSettings extends Required<
  Omit<BridgeNetworkConfig, 'subnets' | 'sourceAddress4' | 'sourceAddress6' | 'hostBinding'>
> {
  sourceAddress4: string | undefined;
  sourceAddress6: string | undefined;
  hostBinding: string | undefined;
}

/** @throws {NetworkError} `INVALID_CONFIG` */
export function checkNetwork(config: BridgeNetworkConfig): NetworkSettings {
  const settings = {
    id: config.id,
    ipv4: config.ipv4 ?? true,
    ipv6: config.ipv6 ?? false,
    bridgeName: config.bridgeName,
    mtu: config.mtu ?? DEFAULT_MTU,
    internal: config.internal ?? false,
    icc: config.icc ?? true,
    masquerade: config.masquerade ?? true,
    gatewayMode4: config.gatewayMode4 ?? 'nat',
    gatewayMode6: config.gatewayMode6 ?? 'nat',
    sourceAddress4: config.sourceAddress4,
    sourceAddress6: config.sourceAddress6,
    hostBinding: config.hostBinding,
    trustedInterfaces: config.trustedInterfaces ?? [],
    inhibitIpv4: config.inhibitIpv4 ?? false,
  };
  const { id, internal, sourceAddress4, sourceAddress6, hostBinding } = settings;
  checkCommon(settings);
  checkInterfaceName(settings.bridgeName);
  for (const name of settings.trustedInterfaces) checkInterfaceName(name);
  for (const mode of [settings.gatewayMode4, settings.gatewayMode6]) {
    if (mode === 'isolated' && !internal) {
      throw invalid(`gateway mode isolated of network ${id} is for internal networks`);
    }
  }
  if (sourceAddress4 !== undefined && !isIPv4(sourceAddress4)) {
    throw invalid(`source address "${sourceAddress4}" of network ${id} is not an IPv4 address`);
  }
  if (sourceAddress6 !== undefined && !isIPv6(sourceAddress6)) {
    throw invalid(`source address "${sourceAddress6}" of network ${id} is not an IPv6 address`);
  }
  if (hostBinding !== undefined && !isIPv4(hostBinding) && !isIPv6(hostBinding)) {
    throw invalid(`host binding "${hostBinding}" of network ${id} is not an IP address`);
  }
  return settings;
}

/** Checks what networks of every driver have. @throws {NetworkError} `INVALID_CONFIG` */
export function checkCommon({
  id,
  ipv4,
  ipv6,
  mtu,
}: Required<Pick<NetworkConfig, 'id' | 'ipv4' | 'ipv6' | 'mtu'>>): void {
  // the link alias that holds it is at most 255 bytes long
  if (!/^[\x21-\x7e]{1,128}$/.test(id)) {
    throw invalid(`network id "${id}" is not 1 to 128 printable characters without spaces`);
  }
  if (!ipv4 && !ipv6) throw invalid(`network ${id} has neither IPv4 nor IPv6`);
  const least = ipv6 ? MTU.leastIpv6 : MTU.least;
  if (!Number.isInteger(mtu) || mtu < least || mtu > MTU.most) {
    throw invalid(`MTU ${mtu} of network ${id} is not from ${least} to ${MTU.most}`);
  }
}

/**
 * Interface names become file names below `/proc/sys/net`, so they are held to letters, digits and `_ . -`.
 *
 * @throws {NetworkError} `INVALID_CONFIG`
 */
export function checkInterfaceName(name: string): void {
  if (!/^[\w.-]+$/.test(name) || name === '.' || name === '..' || name.length > NAME_BYTES) {
    throw invalid(
      `interface name "${name}" is not 1 to ${NAME_BYTES} letters, digits, underscores, dots and hyphens`,
    );
  }
  if (['all', 'default', 'lo'].includes(name))
    throw invalid(`interface name "${name}" is taken by the kernel`);
}

function invalid(message: string): NetworkError {
  return new NetworkError('INVALID_CONFIG', message);
}
