/** Small grammars of `docker run`: `--ulimit`, `--device`, `--restart`, `--add-host`, `--network`, capabilities. */
import { isIP } from 'node:net';
import { UsageError } from '../errors.ts';
import { splitCsv } from './csv.ts';
import { splitPair } from './key-value.ts';

const ulimitNames = new Set(
  'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(
    ' ',
  ),
);

/** An entry of `HostConfig.Ulimits`; -1 is unlimited. */
export interface Ulimit {
  Name: string;
  Hard: number;
  Soft: number;
}

/**
 * `--ulimit name=soft[:hard]`; hard defaults to soft, -1 is unlimited.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseUlimit(text: string): Ulimit {
  const at = text.indexOf('=');
  if (at === -1) throw new UsageError(`invalid ulimit argument: ${text}`);
  const name = text.slice(0, at);
  const value = text.slice(at + 1);
  if (!ulimitNames.has(name)) throw new UsageError(`invalid ulimit type: ${name}`);
  const parts = value.split(':');
  if (parts.length > 2)
    throw new UsageError(
      `too many limit value arguments - ${value}, can only have up to two, \`soft[:hard]\``,
    );
  const [soft, hard = soft] = parts.map((part) => {
    if (!/^[+-]?\d+$/.test(part)) {
      throw new UsageError(`strconv.ParseInt: parsing ${JSON.stringify(part)}: invalid syntax`);
    }
    return Number(part);
  }) as [number, number?];
  if (hard !== -1) {
    if (soft === -1)
      throw new UsageError(
        `ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: ${hard}`,
      );
    if (soft > hard)
      throw new UsageError(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { Name: name, Hard: hard, Soft: soft };
}

/** An entry of `HostConfig.Devices`. */
export interface DeviceMapping {
  PathOnHost: string;
  PathInContainer: string;
  CgroupPermissions: string;
}

/**
 * `--device host[:container[:permissions]]`; permissions are a subset of `rwm`, all by default.
 *
 * @throws {UsageError} for more than three parts
 */
export function parseDevice(text: string): DeviceMapping {
  const parts = text.split(':');
  if (parts.length > 3) throw new UsageError(`invalid device specification: ${text}`);
  const [host, second = '', third] = parts as [string, string?, string?];
  const onlyMode = third === undefined && isDeviceMode(second);
  return {
    PathOnHost: host,
    PathInContainer: onlyMode || second === '' ? host : second,
    CgroupPermissions: onlyMode ? second : (third ?? 'rwm'),
  };
}

function isDeviceMode(text: string): boolean {
  return /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;
}

/** `HostConfig.RestartPolicy`. */
export interface RestartPolicy {
  Name: string;
  MaximumRetryCount: number;
}

/**
 * `--restart name[:retries]`. Which combinations make sense is the daemon's business.
 *
 * @throws {UsageError} for a retry count that is no number
 */
export function parseRestart(text: string): RestartPolicy {
  if (text === '') return { Name: '', MaximumRetryCount: 0 };
  const at = text.indexOf(':');
  const name = at === -1 ? text : text.slice(0, at);
  if (name === '') throw new UsageError(`invalid restart policy format: no policy provided before colon`);
  if (at === -1) return { Name: name, MaximumRetryCount: 0 };
  const count = text.slice(at + 1);
  if (!/^[+-]?\d+$/.test(count))
    throw new UsageError('invalid restart policy format: maximum retry count must be an integer');
  return { Name: name, MaximumRetryCount: Number(count) };
}

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

/** Capability names as the API takes them: upper case with `CAP_`, each once, in order. */
export function normalizeCapabilities(names: readonly string[]): string[] {
  const normal = names.map((name) => {
    const upper = name.trim().toUpperCase();
    return upper === 'ALL' || upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  });
  return [...new Set(normal)].sort();
}

/** An entry of `HostConfig.DeviceRequests`. */
export interface DeviceRequest {
  Driver: string;
  /** -1 for all. */
  Count: number;
  DeviceIDs: string[] | null;
  Capabilities: string[][];
  Options: Record<string, string>;
}

/**
 * `--gpus all`, `--gpus 2`, or CSV such as `"device=0,2",driver=nvidia,capabilities=utility`.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseGpus(text: string): DeviceRequest {
  const request: DeviceRequest = { Driver: '', Count: 0, DeviceIDs: null, Capabilities: [], Options: {} };
  let capabilities = ['gpu'];
  for (const field of splitCsv(text)) {
    const [key, value] = field.includes('=') ? splitPair(field) : ['count', field];
    if (key === 'count') {
      if (value !== 'all' && !/^[+-]?\d+$/.test(value))
        throw new UsageError(`invalid count (${value}): value must be either "all" or an integer`);
      request.Count = value === 'all' ? -1 : Number(value);
    } else if (key === 'driver') request.Driver = value;
    else if (key === 'device') request.DeviceIDs = value.split(',');
    else if (key === 'capabilities') capabilities = [...new Set([...value.split(','), 'gpu'])];
    else if (key === 'options') request.Options = Object.fromEntries(splitCsv(value).map(splitPair));
    else throw new UsageError(`unexpected key '${key}' in '${field}'`);
  }
  if (request.Count === 0 && !request.DeviceIDs) request.Count = 1;
  request.Capabilities = [capabilities];
  return request;
}
