/** Kernel settings of this process's own network namespace, below `/proc/sys`. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

let ipv6Seen = false;

/** Whether the kernel was started with IPv6. Without it there are no settings to turn it off with. */
export function hasIpv6(): boolean {
  // it does not go away; and a look below /proc/sys/net takes longer the more network namespaces there are
  return (ipv6Seen ||= existsSync('/proc/sys/net/ipv6'));
}

/** Reads a setting; undefined when the kernel does not have it. */
export function readSysctl(name: string): string | undefined {
  const path = `/proc/sys/${name}`;
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

/** Writes a setting. Does nothing when it has that value already, as in a container whose `/proc/sys` is read-only. */
export function writeSysctl(name: string, value: string): void {
  if (readSysctl(name) !== value) writeFileSync(`/proc/sys/${name}`, value);
}

/** Whether bridged packets of one of these families go through the IP packet filter (`br_netfilter`). */
export function filtersBridgedPackets(...families: (4 | 6)[]): boolean {
  if (!existsSync('/proc/sys/net/bridge')) return false;
  return families.some(
    (family) => readSysctl(`net/bridge/bridge-nf-call-${family === 4 ? 'iptables' : 'ip6tables'}`) === '1',
  );
}

/** Makes a router of the host, in the families that are used. */
export function enableForwarding({ ipv4, ipv6 }: { ipv4: boolean; ipv6: boolean }): void {
  if (ipv4) writeSysctl('net/ipv4/ip_forward', '1');
  if (!ipv6 || !hasIpv6() || readSysctl('net/ipv6/conf/all/forwarding') === '1') return;
  // a router does not listen to other routers: what the host learned its own default route by must go on being heard
  for (const name of readdirSync('/proc/sys/net/ipv6/conf')) {
    if (name === 'all' || name === 'default') continue;
    if (readSysctl(`net/ipv6/conf/${name}/accept_ra`) === '1')
      writeSysctl(`net/ipv6/conf/${name}/accept_ra`, '2');
  }
  writeSysctl('net/ipv6/conf/all/forwarding', '1');
}
