/** `--device`, `--gpus`, and the limits of block devices. */
import { UsageError } from '../errors.ts';
import { splitCsv } from './csv.ts';
import { splitPair } from './key-value.ts';
import { parseSize } from './size.ts';

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

/** An entry of `HostConfig.BlkioDeviceReadBps` and its kind. */
export interface DeviceRate {
  Path: string;
  Rate: number;
}

/** `/dev/sda:rest`. @throws {UsageError} worded as Docker's */
function devicePath(text: string): [path: string, rest: string] {
  const at = text.indexOf(':');
  if (at < 1 || at === text.length - 1) throw new UsageError(`bad format: ${text}`);
  const path = text.slice(0, at);
  if (!path.startsWith('/dev/')) throw new UsageError(`bad format for device path: ${text}`);
  return [path, text.slice(at + 1)];
}

/** `--device-read-bps /dev/sda:1mb`. */
export function parseDeviceBytes(text: string): DeviceRate {
  const [Path, rest] = devicePath(text);
  try {
    return { Path, Rate: parseSize(rest) };
  } catch (cause) {
    throw new UsageError(
      `invalid rate for device: ${text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb`,
      { cause },
    );
  }
}

/** `--device-read-iops /dev/sda:1000`. */
export function parseDeviceOperations(text: string): DeviceRate {
  const [Path, rest] = devicePath(text);
  if (!/^\d+$/.test(rest)) {
    throw new UsageError(
      `invalid rate for device: ${text}. The correct format is <device-path>:<number>. Number must be a positive integer`,
    );
  }
  return { Path, Rate: Number(rest) };
}

/** `--blkio-weight-device /dev/sda:300`. */
export function parseDeviceWeight(text: string): { Path: string; Weight: number } {
  const [Path, rest] = devicePath(text);
  const weight = Number(rest);
  if (!/^\d+$/.test(rest) || (weight > 0 && (weight < 10 || weight > 1000))) {
    throw new UsageError(`invalid weight for device: ${text}`);
  }
  return { Path, Weight: weight };
}
