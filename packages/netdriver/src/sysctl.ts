/** Kernel settings of this process's own network namespace, below `/proc/sys`. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Whether the kernel was started with IPv6. Without it there are no settings to turn it off with. */
export function hasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6');
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

/** Whether bridged packets go through the IP packet filter (`br_netfilter`). */
export function filtersBridgedPackets(): boolean {
  return readSysctl('net/bridge/bridge-nf-call-iptables') === '1';
}
