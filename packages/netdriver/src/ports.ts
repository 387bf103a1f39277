/** Port mappings: checking what is asked, and naming what is taken. */

import { isIPv4, isIPv6 } from 'node:net';

import type { PortMapping, PortProtocol, PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';

/** Every IPv4 address of the host. */
export const ANY_IPV4 = '0.0.0.0';
/** Every IPv6 address of the host. */
export const ANY_IPV6 = '::';

/** Numbers of the transport protocols (`IPPROTO_*`). */
export const PROTOCOL_NUMBER: Record<PortProtocol, number> = { tcp: 6, udp: 17, sctp: 132 };

/** A mapping with its defaults filled in. */
export interface CheckedPortMapping {
  protocol: PortProtocol;
  containerPort: number;
  /** undefined for every address of either family. */
  hostIp: string | undefined;
  /** undefined for any free port. */
  hostPorts: { from: number; to: number } | undefined;
}

/** @throws {NetworkError} `INVALID_CONFIG` when it is not a mapping that can be published */
export function checkPortMapping(mapping: PortMapping): CheckedPortMapping {
  const { protocol, containerPort, hostPort } = mapping;
  const hostIp = mapping.hostIp || undefined;
  if (!Object.hasOwn(PROTOCOL_NUMBER, protocol)) {
    throw invalid(`protocol "${String(protocol)}" cannot be published; use tcp, udp or sctp`);
  }
  checkPort('container port', containerPort);
  if (hostIp !== undefined && !isIPv4(hostIp) && (!isIPv6(hostIp) || hostIp.includes('%'))) {
    throw invalid(`host address "${hostIp}" of port ${containerPort} is not an IP address`);
  }
  if (hostPort === undefined || hostPort === 0)
    return { protocol, containerPort, hostIp, hostPorts: undefined };
  const hostPorts = typeof hostPort === 'number' ? { from: hostPort, to: hostPort } : hostPort;
  checkPort('host port', hostPorts.from);
  checkPort('host port', hostPorts.to);
  if (hostPorts.from > hostPorts.to) {
    throw invalid(`host port range ${hostPorts.from}-${hostPorts.to} ends before it begins`);
  }
  return { protocol, containerPort, hostIp, hostPorts };
}

/** The family of an address in text. */
export function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

/** `127.0.0.1:8080/tcp`, `[::1]:8080/tcp`. */
export function formatPort(port: Pick<PublishedPort, 'hostIp' | 'hostPort' | 'protocol'>): string {
  const host = familyOf(port.hostIp) === 6 ? `[${port.hostIp}]` : port.hostIp;
  return `${host}:${port.hostPort}/${port.protocol}`;
}

/** Whether two are the same port of the host. */
export function samePort(a: PublishedPort, b: PublishedPort): boolean {
  return (
    a.protocol === b.protocol &&
    a.hostIp === b.hostIp &&
    a.hostPort === b.hostPort &&
    a.containerPort === b.containerPort
  );
}

function checkPort(what: string, port: number): void {
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw invalid(`${what} ${port} is not a number from 1 to 65535`);
  }
}

function invalid(message: string): NetworkError {
  return new NetworkError('INVALID_CONFIG', message);
}
