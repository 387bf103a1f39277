/** `--device` and `--gpus`. */
import { UsageError } from '../errors.ts';
import { splitCsv } from './csv.ts';
import { splitPair } from './key-value.ts';

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
