/** /etc/hosts, /etc/hostname and /etc/resolv.conf: written by the engine, bind-mounted into the container. */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { Endpoint } from '@tare/netdriver';

/** Used when the host has no name server that a container can reach (dockerd's choice too). */
const PUBLIC_NAME_SERVERS = ['8.8.8.8', '8.8.4.4'];
/** Where systemd-resolved keeps the real servers behind its stub. */
const RESOLVED_CONF = '/run/systemd/resolve/resolv.conf';
const STUB_RESOLVER = '127.0.0.53';

/** The text of /etc/hosts. */
export function hostsFile(options: {
  /** `name:address`; the address `host-gateway` is replaced by the `gateways`. */
  extraHosts: readonly string[];
  gateways: readonly string[];
  /** Other containers under names of this one's own. */
  links?: readonly { address: string; names: readonly string[] }[];
  /** Addresses of the container, and its names. */
  addresses: readonly string[];
  names: readonly string[];
}): string {
  const lines = [
    '127.0.0.1\tlocalhost',
    // also without a network of IPv6: the loopback has it
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...extraHostLines(options.extraHosts, options.gateways),
    ...(options.links ?? []).map(({ address, names }) => `${address}\t${names.join(' ')}`),
  ];
  const names = options.names.join(' ');
  for (const address of options.addresses) lines.push(`${address}\t${names}`);
  return `${lines.join('\n')}\n`;
}

/** `name:address` entries as lines of a hosts file; those for a gateway there is not are left out. */
export function extraHostLines(extraHosts: readonly string[], gateways: readonly string[]): string[] {
  return extraHosts.flatMap((entry) => {
    const at = entry.indexOf(':');
    const name = entry.slice(0, at);
    const address = entry.slice(at + 1).replace(/^\[(.*)\]$/, '$1');
    const resolved = address === 'host-gateway' ? gateways : [address];
    return resolved.map((item) => `${item}\t${name}`);
  });
}

/**
 * The text of /etc/resolv.conf: the container's own choices over the host's. Loopback servers are left out, since the
 * container's loopback is another one.
 */
export function resolvConf(
  host: string,
  own: { servers: readonly string[]; search: readonly string[]; options: readonly string[] },
): string {
  const lines = host.split('\n').map((line) => line.trim());
  const values = (keyword: string): string[] =>
    lines
      .filter((line) => line.split(/\s+/, 1)[0] === keyword)
      .map((line) => line.slice(keyword.length).trim());
  const servers = values('nameserver').filter((server) => !/^(127\.|::1$)/.test(server));
  const chosen = own.servers.length > 0 ? own.servers : servers.length > 0 ? servers : PUBLIC_NAME_SERVERS;
  const search = own.search.length > 0 ? own.search : (values('search').at(-1)?.split(/\s+/) ?? []);
  const options = own.options.length > 0 ? own.options : (values('options').at(-1)?.split(/\s+/) ?? []);
  const result = chosen.map((server) => `nameserver ${server}`);
  // a single dot takes the host's search domains away
  if (search.length > 0 && search.join() !== '.') result.push(`search ${search.join(' ')}`);
  if (options.length > 0) result.push(`options ${options.join(' ')}`);
  return `${result.join('\n')}\n`;
}

/**
 * The text of /etc/resolv.conf of a container with a name server of its own: that one, with the search domains and
 * options as {@link resolvConf} chooses them.
 */
export function ownResolvConf(
  address: string,
  host: string,
  own: { search: readonly string[]; options: readonly string[] },
): string {
  const rest = resolvConf(host, { servers: [address], ...own })
    .split('\n')
    .filter((line) => line !== '' && !/^(nameserver|options) /.test(line));
  // every name is tried as it is first: those of containers have no dots
  const options = own.options.some((option) => option.startsWith('ndots:')) ? [] : ['ndots:0'];
  const all = [...own.options, ...options];
  return `${[`nameserver ${address}`, ...rest, ...(all.length > 0 ? [`options ${all.join(' ')}`] : [])].join('\n')}\n`;
}

/** The addresses of an endpoint, without their prefix lengths. */
export function endpointAddresses({ ipv4Address, ipv6Address }: Endpoint): string[] {
  return [ipv4Address, ipv6Address].flatMap((address) => address?.split('/')[0] ?? []);
}

/** The servers that the host itself asks; those of its loopback are among them, since it is the host that will ask. */
export function hostNameServers(text = hostResolvConf()): string[] {
  const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1]!);
  return servers.length > 0 ? servers : [...PUBLIC_NAME_SERVERS];
}

/** The host's resolver configuration, behind systemd-resolved's stub when it is in use; empty when there is none. */
export function hostResolvConf(read: (path: string) => string | undefined = readIfThere): string {
  const text = read('/etc/resolv.conf') ?? '';
  const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1]);
  const stubOnly = servers.length > 0 && servers.every((server) => server === STUB_RESOLVER);
  return stubOnly ? (read(RESOLVED_CONF) ?? text) : text;
}

/** A small text file's contents; undefined when it is not there. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Writes a file in place, so that bind mounts of it see the new text. */
export function writeInPlace(path: string, text: string): void {
  const before = readIfThere(path);
  if (before === text) return;
  // not emptied first: a container that reads it just now would find nothing, and file systems make that wait for the disk
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    writeFileSync(file, text);
    const length = Buffer.byteLength(text);
    if (before !== undefined && Buffer.byteLength(before) > length) ftruncateSync(file, length);
  } finally {
    closeSync(file);
  }
}
