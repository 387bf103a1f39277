import { describe, expect, it } from 'vitest';
import type { CreateRequest } from '../../src/containers/create-request.ts';
import { adaptRequest } from '../../src/containers/request-versions.ts';

const adapt = (request: CreateRequest, version: string) => adaptRequest(request, version).request;

describe('a create request of an older version', () => {
  it.for<[field: string, since: string, request: CreateRequest, left: unknown]>([
    ['HostConfig.AutoRemove', '1.25', { HostConfig: { AutoRemove: true } }, undefined],
    ['HostConfig.ConsoleSize', '1.42', { HostConfig: { ConsoleSize: [9, 9] } }, undefined],
    ['HostConfig.Annotations', '1.43', { HostConfig: { Annotations: { a: 'b' } } }, undefined],
    ['Healthcheck.StartInterval', '1.44', { Healthcheck: { StartInterval: 5e9 } }, undefined],
    [
      'HostConfig.Mounts.0.BindOptions.NonRecursive',
      '1.40',
      { HostConfig: { Mounts: [{ Type: 'bind', BindOptions: { NonRecursive: true } }] } },
      undefined,
    ],
    [
      'HostConfig.Mounts.0.BindOptions.CreateMountpoint',
      '1.42',
      { HostConfig: { Mounts: [{ Type: 'bind', BindOptions: { CreateMountpoint: true } }] } },
      undefined,
    ],
    [
      'NetworkingConfig.EndpointsConfig.net.GwPriority',
      '1.48',
      { NetworkingConfig: { EndpointsConfig: { net: { GwPriority: 7 } } } },
      0,
    ],
    [
      'NetworkingConfig.EndpointsConfig.net.MacAddress',
      '1.44',
      { NetworkingConfig: { EndpointsConfig: { net: { MacAddress: '02:00:00:00:00:01' } } } },
      '',
    ],
  ])('has no %s below %s', ([path, since, request, left]) => {
    const at = (version: string): unknown =>
      path
        .split('.')
        .reduce((value, key) => (value as Record<string, unknown>)[key], adapt(request, version) as unknown);
    expect(at(since)).not.toEqual(left);
    const [major, minor] = since.split('.').map(Number);
    expect(at(`${major}.${minor! - 1}`)).toEqual(left);
  });

  it.for<[message: string, version: string, request: CreateRequest]>([
    [
      'Container cannot be created with multiple network endpoints: a, b',
      '1.43',
      { NetworkingConfig: { EndpointsConfig: { a: {}, b: {} } } },
    ],
    [
      'BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer',
      '1.43',
      { HostConfig: { Mounts: [{ Type: 'bind', BindOptions: { ReadOnlyForceRecursive: true } }] } },
    ],
    [
      'VolumeOptions.Subpath needs API v1.45 or newer',
      '1.44',
      { HostConfig: { Mounts: [{ Type: 'volume', VolumeOptions: { Subpath: 'a' } }] } },
    ],
    ['Mount type "Image" needs API v1.48 or newer', '1.47', { HostConfig: { Mounts: [{ Type: 'image' }] } }],
    [
      'VolumeOptions must not be specified on mount type "bind"',
      '1.42',
      { HostConfig: { Mounts: [{ Type: 'bind', VolumeOptions: {} }] } },
    ],
    [
      'must match the endpoint-specific MAC address',
      '1.44',
      {
        MacAddress: '02:00:00:00:00:01',
        NetworkingConfig: { EndpointsConfig: { bridge: { MacAddress: '02:00:00:00:00:02' } } },
      },
    ],
  ])('is refused: %s', ([message, version, request]) => {
    expect(() => adapt(request, version)).toThrow(message);
  });

  it('has its MAC address put on its main network', () => {
    const request = { MacAddress: '02:00:00:00:00:01', HostConfig: { NetworkMode: 'net' } };
    const old = adaptRequest(request, '1.43');
    expect(old.request.NetworkingConfig?.EndpointsConfig).toEqual({
      net: { MacAddress: '02:00:00:00:00:01' },
    });
    expect(old.warnings).toEqual([]);
    const current = adaptRequest(request, '1.44');
    expect(current.request.MacAddress).toBeUndefined();
    expect(current.warnings).toEqual([expect.stringContaining('MacAddress field is now deprecated')]);
  });

  it('has read-only binds that leave what is below them writable', () => {
    expect(adaptRequest({}, '1.43').readOnlyNonRecursive).toBe(true);
    expect(adaptRequest({}, '1.44').readOnlyNonRecursive).toBe(false);
  });

  it('finds the network "default" to be the bridge', () => {
    const { HostConfig: host, NetworkingConfig: networking } = adapt(
      {
        HostConfig: { NetworkMode: 'default' },
        NetworkingConfig: { EndpointsConfig: { default: { Aliases: ['a'] } } },
      },
      '1.51',
    );
    expect(host?.NetworkMode).toBe('bridge');
    expect(networking?.EndpointsConfig).toEqual({ bridge: { Aliases: ['a'] } });
  });
});
