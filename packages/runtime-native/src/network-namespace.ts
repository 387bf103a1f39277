/** Network namespaces that live at a path, and the sysctls inside them. */
import { closeSync } from 'node:fs';

import { load } from '#binding';
import { nameNamespace } from './user-namespace.ts';

/** Options of {@link createNetworkNamespace}. */
export interface NetworkNamespaceOptions {
  /**
   * Path of the user namespace that it belongs to: who is root there has power over its interfaces, ports and rules.
   * Default: the one of this process. Needs a process of its own for a moment, some 2 ms.
   */
  userNamespace?: string;
}

/**
 * Makes a new network namespace and binds it to `path`, a file that must not exist yet; its folder must. The namespace
 * lives until {@link removeNetworkNamespace}, whatever happens to this process.
 *
 * It holds one interface, `lo`, which is down. IPv4 sysctls are copied from the first namespace (`ip_forward` among
 * them), IPv6 ones have the kernel's defaults.
 *
 * @throws {Error} errno codes, `EEXIST` when `path` exists; nothing is left behind
 */
export function createNetworkNamespace(path: string, options: NetworkNamespaceOptions = {}): Promise<void> {
  const { userNamespace } = options;
  if (userNamespace === undefined) return load().createNetworkNamespace(path);
  return nameNamespace('network', path, { owner: userNamespace });
}

/**
 * Unbinds the namespace and removes the file. The namespace itself ends when its last process and descriptor are gone.
 * A namespace that is already gone is fine, so it also sweeps after a crash.
 */
export function removeNetworkNamespace(path: string): Promise<void> {
  return load().removeNetworkNamespace(path);
}

/**
 * Opens the namespace bound to `path` and returns a descriptor, which the caller closes.
 *
 * @throws {Error} `ENOENT`; `EINVAL` when `path` is not a namespace, for example after a reboot
 */
export function openNetworkNamespace(path: string): number {
  return load().openNetworkNamespace(path);
}

/**
 * Writes sysctls in a network namespace, in the order given, off the event loop: some of them wait for the kernel's
 * network lock.
 *
 * @param netns a path it is bound to, or a descriptor (borrowed)
 * @param settings values by name. `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same; use slashes where an
 *   interface name holds a dot
 * @param options `ignoreMissing` passes over settings that this kernel does not have; default false
 * @throws {Error} errno codes with `path`; the settings before the failed one stay written
 */
export function writeSysctls(
  netns: string | number,
  settings: Readonly<Record<string, string>>,
  options: { ignoreMissing?: boolean } = {},
): Promise<void> {
  const flat = Object.entries(settings).flatMap(([name, value]) => [sysctlPath(name), value]);
  return withNamespace(netns, (fd) => load().writeFilesIn(fd, flat, options.ignoreMissing ?? false));
}

/** Reads a sysctl in a network namespace, without the final newline. */
export function readSysctl(netns: string | number, name: string): string {
  return withNamespace(netns, (fd) => load().readFileIn(fd, sysctlPath(name)).trimEnd());
}

function withNamespace<T>(netns: string | number, use: (fd: number) => T): T {
  if (typeof netns === 'number') return use(netns);
  const fd = openNetworkNamespace(netns);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

function sysctlPath(name: string): string {
  const path = name.includes('/') ? name : name.replaceAll('.', '/');
  if (path.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new TypeError(`'${name}' is not a sysctl name such as net.ipv4.ip_forward`);
  }
  return `/proc/sys/${path}`;
}
