/** Which hosts may be spoken to how: plain http, unverified TLS, private addresses. */
import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Addresses that are no business of an answer from outside: private, link-local (cloud metadata), this host. */
const internal = new BlockList();
for (const [net, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  internal.addSubnet(net, prefix, 'ipv4');
}
internal.addAddress('::', 'ipv6');
internal.addAddress('::1', 'ipv6');
internal.addSubnet('fc00::', 7, 'ipv6');
internal.addSubnet('fe80::', 10, 'ipv6');

/** The host name of a registry name or URL host, without port and without the brackets of IPv6. */
export function hostnameOf(host: string): string {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name.startsWith('[') ? name.slice(1, -1) : name;
}

/** Whether `host` (with or without a port) is this machine by its very name: localhost, 127.0.0.0/8, ::1. */
export function isLoopback(host: string): boolean {
  const name = hostnameOf(host);
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return listed(loopback, name);
}

/** Whether `host` is an address of a private, link-local or loopback network, or `localhost`. Names are not looked up. */
export function isInternal(host: string): boolean {
  return isLoopback(host) || listed(internal, hostnameOf(host));
}

function listed(list: BlockList, name: string): boolean {
  const family = isIP(name);
  if (family === 0) return false;
  // an IPv4 address in IPv6 clothes is that IPv4 address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(name)?.[1];
  if (mapped !== undefined) return list.check(mapped, 'ipv4');
  return list.check(name, family === 4 ? 'ipv4' : 'ipv6');
}

/** Tells for a host whether it is on the user's list of insecure registries. */
export type InsecureList = (host: string) => boolean;

/**
 * Compiles the list of registries that may be spoken to over plain http or unverified TLS.
 *
 * @param entries `host`, `host:port` or a network in CIDR form, as dockerd's `insecure-registries`; a `host` without a
 *   port stands for all its ports
 * @throws {RangeError} for an entry that is none of these
 */
export function compileInsecureList(entries: readonly string[]): InsecureList {
  const hosts = new Set<string>();
  const networks = new BlockList();
  for (const entry of entries) {
    const [, net, prefix] = /^([0-9a-fA-F.:]+)\/(\d+)$/.exec(entry) ?? [];
    const family = net === undefined ? 0 : isIP(net);
    if (family !== 0) networks.addSubnet(net!, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
    else if (/^[^/\s@?#]+$/.test(entry)) hosts.add(entry.toLowerCase());
    else
      throw new RangeError(`insecure registry ${JSON.stringify(entry)} is neither host[:port] nor a network`);
  }
  return (host) =>
    hosts.has(host.toLowerCase()) ||
    hosts.has(host.replace(/:\d+$/, '').toLowerCase()) ||
    listed(networks, hostnameOf(host));
}
