/** Which capabilities a container's processes may use: the default set, with additions and removals. Pure. */
import { CAPABILITIES, DEFAULT_CAPABILITIES } from '@tare/runtime-native/spec';

const known = new Set<string>(CAPABILITIES);

/** `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN` as `CAP_NET_ADMIN`; `ALL` stays; undefined for anything else. */
export function parseCapability(name: string): string | undefined {
  const upper = name.toUpperCase();
  if (upper === 'ALL' || upper === 'CAP_ALL') return 'ALL';
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  return known.has(full) ? full : undefined;
}

/**
 * The capability names of a container.
 *
 * `ALL` in `add` means every capability but those dropped; `ALL` in `drop` means none but those added.
 */
export function containerCapabilities(host: {
  Privileged?: boolean | undefined;
  CapAdd?: readonly string[] | undefined;
  CapDrop?: readonly string[] | undefined;
}): string[] {
  if (host.Privileged) return [...CAPABILITIES];
  const set = (names: readonly string[] = []): Set<string> =>
    new Set(names.map(parseCapability).filter((name) => name !== undefined));
  const add = set(host.CapAdd);
  const drop = set(host.CapDrop);
  if (add.has('ALL')) return CAPABILITIES.filter((name) => !drop.has(name));
  const base = drop.has('ALL') ? [] : DEFAULT_CAPABILITIES;
  const result = base.filter((name) => !drop.has(name));
  for (const name of add) if (!result.includes(name)) result.push(name);
  return result;
}
