/**
 * What a create request of an older API version means in the newest one: members that the client's version did not have
 * are ignored or refused, and defaults are those of then. Pure.
 */
import { invalid } from '../errors.ts';
import { compareVersions } from '../http/api-version.ts';
import type { CreateRequest, EndpointSettings } from './create-request.ts';
import type { HostConfig, MountRequest } from './host-config.ts';

/** A request as the newest version would have it. */
export interface AdaptedRequest {
  request: CreateRequest;
  /** Read-only binds leave what is mounted below them writable, as all did below 1.44. */
  readOnlyNonRecursive: boolean;
  warnings: string[];
}

type Endpoints = Record<string, EndpointSettings | null>;

/** @throws {EngineError} `INVALID` in dockerd's words, for what cannot be ignored */
export function adaptRequest(original: CreateRequest, version: string): AdaptedRequest {
  const below = (limit: string): boolean => compareVersions(version, limit) < 0;
  const warnings: string[] = [];
  const host: HostConfig = { ...original.HostConfig };
  const request: CreateRequest = { ...original, HostConfig: host };
  let endpoints: Endpoints = { ...original.NetworkingConfig?.EndpointsConfig };
  if (!host.NetworkMode || host.NetworkMode === 'default') {
    host.NetworkMode = 'bridge';
    const { default: ofDefault, ...rest } = endpoints;
    if (ofDefault !== undefined) endpoints = { ...rest, bridge: ofDefault };
  }
  // the client removes the container itself
  if (below('1.25')) delete host.AutoRemove;
  if (below('1.42')) delete host.ConsoleSize;
  if (below('1.43')) delete host.Annotations;
  if (below('1.44') && request.Healthcheck) {
    const { StartInterval: _new, ...check } = request.Healthcheck;
    request.Healthcheck = check;
  }
  if (host.Mounts) host.Mounts = host.Mounts.map((mount) => adaptMount(mount, below));
  if (below('1.44') && Object.keys(endpoints).length > 1) {
    throw invalid(
      `Container cannot be created with multiple network endpoints: ${Object.keys(endpoints).join(', ')}`,
    );
  }
  if (below('1.48')) {
    endpoints = Object.fromEntries(
      Object.entries(endpoints).map(([name, settings]) => [name, settings && { ...settings, GwPriority: 0 }]),
    );
  } else if (host.VolumeDriver && (host.Mounts ?? []).some(ignoresVolumeDriver)) {
    warnings.push(
      "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. " +
        "Use '--mount type=volume,volume-driver=...' instead",
    );
  }
  endpoints = adaptMacAddress(request, endpoints, below('1.44'), warnings);
  if (Object.keys(endpoints).length > 0) request.NetworkingConfig = { EndpointsConfig: endpoints };
  return { request, readOnlyNonRecursive: below('1.44'), warnings };
}

function adaptMount(original: MountRequest, below: (limit: string) => boolean): MountRequest {
  const mount = { ...original };
  const type = mount.Type ?? '';
  if (mount.BindOptions) {
    const options = { ...mount.BindOptions };
    if (below('1.40')) delete options.NonRecursive;
    if (below('1.42')) delete options.CreateMountpoint;
    if (below('1.44') && options.ReadOnlyForceRecursive) {
      throw invalid('BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer');
    }
    mount.BindOptions = options;
  }
  for (const [key, own] of [
    ['VolumeOptions', 'volume'],
    ['BindOptions', 'bind'],
    ['TmpfsOptions', 'tmpfs'],
  ] as const) {
    if (mount[key] === undefined || type === own) continue;
    if (!below('1.42')) throw invalid(`${key} must not be specified on mount type "${type}"`);
    if (key !== 'BindOptions') delete mount[key];
  }
  if (below('1.45') && mount.VolumeOptions?.Subpath) {
    throw invalid('VolumeOptions.Subpath needs API v1.45 or newer');
  }
  if (below('1.46')) delete mount.TmpfsOptions?.Options;
  if (below('1.48') && type === 'image') throw invalid('Mount type "Image" needs API v1.48 or newer');
  return mount;
}

function ignoresVolumeDriver({ Type: type, VolumeOptions: options }: MountRequest): boolean {
  return type === 'volume' && !options?.DriverConfig?.Name;
}

/** The container's own MAC address is one of its main network since 1.44; before, networks had none of their own. */
function adaptMacAddress(
  request: CreateRequest,
  endpoints: Endpoints,
  old: boolean,
  warnings: string[],
): Endpoints {
  const mac = request.MacAddress ?? '';
  const mode = request.HostConfig?.NetworkMode ?? 'bridge';
  const hasOwn = mode !== 'host' && mode !== 'none' && !mode.startsWith('container:');
  if (mac === '') {
    if (!old) return endpoints;
    return Object.fromEntries(
      Object.entries(endpoints).map(([name, settings]) => [
        name,
        settings && { ...settings, MacAddress: '' },
      ]),
    );
  }
  if (!hasOwn) {
    if (old) throw invalid('conflicting options: mac-address and the network mode');
  } else {
    const [only] = Object.keys(endpoints);
    const name = old && only !== undefined ? only : mode;
    const settings = endpoints[name];
    if (settings === undefined && Object.keys(endpoints).length > 0) {
      throw invalid(
        'unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the ' +
          'identity of a network in NetworkSettings.Networks',
      );
    }
    const given = settings?.MacAddress;
    if (!old && given && given !== mac) {
      throw invalid(
        'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
      );
    }
    endpoints = { ...endpoints, [name]: { ...settings, MacAddress: mac } };
  }
  if (!old) {
    warnings.push(
      'The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.',
    );
    delete request.MacAddress;
  }
  return endpoints;
}
