/** `--network` and `--add-host`: how a container is reached and what it knows by name. */
import { isIP } from 'node:net';
import { UsageError } from '../errors.ts';
import { splitCsv } from './csv.ts';
import { splitPair } from './key-value.ts';

/**
 * `--add-host name:ip` (or `name=ip`); the address may be IPv6, with or without brackets, or `host-gateway`.
 *
 * @returns `name:ip`
 * @throws {UsageError} worded as Docker's
 */
export function parseExtraHost(text: string): string {
  const match = /^([^:=]+)[:=](.*)$/s.exec(text);
  if (!match) throw new UsageError(`bad format for add-host: ${JSON.stringify(text)}`);
  const name = match[1]!;
  const address = match[2]!.replace(/^\[(.*)\]$/, '$1');
  if (address !== 'host-gateway' && isIP(address) === 0) {
    throw new UsageError(`invalid IP address in add-host: ${JSON.stringify(match[2])}`);
  }
  return `${name}:${address}`;
}

/** One `--network`: a mode or name, and how the container takes part in it. */
export interface NetworkAttachment {
  Target: string;
  Aliases: string[];
  DriverOpts: Record<string, string>;
  Links: string[];
  IPv4Address: string;
  IPv6Address: string;
  LinkLocalIPs: string[];
  MacAddress: string;
  GwPriority: number;
}

/**
 * `--network name` or the long form `name=…,alias=…,ip=…,ip6=…,mac-address=…,link-local-ip=…,driver-opt=…,gw-priority=…`.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseNetwork(text: string): NetworkAttachment {
  const network: NetworkAttachment = {
    Target: '',
    Aliases: [],
    DriverOpts: {},
    Links: [],
    IPv4Address: '',
    IPv6Address: '',
    LinkLocalIPs: [],
    MacAddress: '',
    GwPriority: 0,
  };
  if (!/^\w+=/.test(text) && !text.includes(',')) return { ...network, Target: text };
  for (const field of splitCsv(text)) {
    const [rawKey, rawValue] = splitPair(field);
    if (!field.includes('=') || rawKey === '') throw new UsageError(`invalid field ${field}`);
    setNetworkField(network, rawKey.trim().toLowerCase(), rawValue.trim());
  }
  if (network.Target === '') throw new UsageError('network name/id is not specified');
  return network;
}

function setNetworkField(network: NetworkAttachment, key: string, value: string): void {
  switch (key) {
    case 'name':
      network.Target = value;
      return;
    case 'alias':
      network.Aliases.push(value);
      return;
    case 'ip':
      network.IPv4Address = value;
      return;
    case 'ip6':
      network.IPv6Address = value;
      return;
    case 'mac-address':
      network.MacAddress = value;
      return;
    case 'link-local-ip':
      network.LinkLocalIPs.push(value);
      return;
    case 'driver-opt': {
      const [name, setting] = splitPair(value);
      if (name === '' || !value.includes('='))
        throw new UsageError('invalid key value pair format in driver options');
      network.DriverOpts[name.trim()] = setting.trim();
      return;
    }
    case 'gw-priority':
      if (!/^[+-]?\d+$/.test(value)) throw new UsageError(`invalid gw-priority (${value}): invalid syntax`);
      network.GwPriority = Number(value);
      return;
    default:
      throw new UsageError(`invalid field key ${key}`);
  }
}
