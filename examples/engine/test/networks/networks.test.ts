import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Filters } from '../../src/filters.ts';
import { renderNetwork } from '../../src/networks/render.ts';
import { FakeHost, startEngine, type FakeEngine } from '../containers/fakes.ts';

let host: FakeHost;
let engine: FakeEngine;

beforeEach(async () => {
  host = new FakeHost();
  engine = await startEngine(host);
});
afterEach(async () => {
  await engine[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

const request = (name: string, changes: object = {}) => ({
  name,
  driver: 'bridge',
  internal: false,
  attachable: false,
  enableIpv6: false,
  ipam: { driver: 'default', options: {}, pools: [] },
  options: {},
  labels: {},
  ...changes,
});
const names = (filters: Record<string, string[]> = {}) =>
  engine.networks.list(new Filters(new Map(Object.entries(filters)))).map(({ name }) => name);

describe('networks', () => {
  it('has the predefined three from the start, the same ones after a restart', async () => {
    expect(names()).toEqual(['bridge', 'host', 'none']);
    const { id } = engine.networks.find('bridge');
    await engine[Symbol.asyncDispose]();
    engine = await startEngine(host);
    expect(names()).toEqual(['bridge', 'host', 'none']);
    expect(engine.networks.find('bridge').id).toBe(id);
  });

  it('makes the default bridge for the first container only', async () => {
    const bridge = engine.networks.find('bridge');
    expect(engine.networks.made(bridge.id)).toBeUndefined();
    const ids = [await engine.create(), await engine.create()];
    await Promise.all(ids.map((id) => engine.containers.start(id)));
    expect(engine.networks.made(bridge.id)).toMatchObject({
      linkName: 'tare0',
      subnets: [{ subnet: '172.17.0.0/16' }],
    });
  });

  it('finds by id, name and unique prefix', async () => {
    const { id } = await engine.networks.create(request('app'));
    for (const text of [id, 'app', id.slice(0, 12)]) expect(engine.networks.find(text).id).toBe(id);
    expect(() => engine.networks.find('nosuch')).toThrow('network nosuch not found');
  });

  it.each([
    ['bridge', {}, 'FORBIDDEN', 'operation is not permitted on predefined bridge network'],
    ['', {}, 'INVALID', 'name is empty'],
    ['a b', {}, 'INVALID', 'invalid network name'],
    ['app', { driver: 'nosuch' }, 'NOT_FOUND', 'plugin "nosuch" not found'],
    ['app', { driver: 'host' }, 'FORBIDDEN', 'only one instance of "host" network is allowed'],
    ['app', { driver: 'macvlan' }, 'NOT_FOUND', 'plugin "macvlan" not found'],
    [
      'app',
      { options: { 'com.docker.network.bridge.enable_icc': 'maybe' } },
      'INVALID',
      'strconv.ParseBool: parsing "maybe"',
    ],
    ['app', { options: { 'com.docker.network.driver.mtu': 'big' } }, 'INVALID', 'driver.mtu'],
    [
      'app',
      { options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'open' } },
      'INVALID',
      'unknown gateway mode open',
    ],
  ])('refuses %j with %j', async (name, changes, code, message) => {
    await expect(engine.networks.create(request(name, changes))).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
    expect(names()).toHaveLength(3);
  });

  it('refuses a taken name', async () => {
    await engine.networks.create(request('app'));
    await expect(engine.networks.create(request('app'))).rejects.toThrow(
      'network with name app already exists',
    );
  });

  it('is removed only when nobody is on it, and never when predefined', async () => {
    await engine.networks.create(request('app'));
    const id = await engine.create({ HostConfig: { NetworkMode: 'app' } }, 'web');
    await engine.containers.start(id);
    await expect(engine.networks.remove('app')).rejects.toThrow(
      /error while removing network: network app has active endpoints \(name:"web" id:"[0-9a-f]{12}"\)/,
    );
    await expect(engine.networks.remove('bridge')).rejects.toThrow(
      'bridge is a pre-defined network and cannot be removed',
    );
    await engine.containers.remove(id, { force: true, volumes: false });
    await engine.networks.remove('app');
    expect(names()).toHaveLength(3);
  });

  it('filters its list', async () => {
    await engine.networks.create(request('app', { labels: { tier: 'web' } }));
    expect(names({ driver: ['bridge'] })).toEqual(['bridge', 'app']);
    expect(names({ type: ['custom'] })).toEqual(['app']);
    expect(names({ label: ['tier=web'] })).toEqual(['app']);
    expect(names({ dangling: ['true'] })).toEqual(['app']);
    expect(names({ name: ['ho'] })).toEqual(['host']);
  });

  it('prunes what no container is on, running or not', async () => {
    await engine.networks.create(request('used'));
    await engine.networks.create(request('unused'));
    await engine.create({ HostConfig: { NetworkMode: 'used' } });
    expect(await engine.networks.prune(new Filters(), engine.containers.networksInUse())).toEqual(['unused']);
  });

  it('joins and leaves networks while the container runs', async () => {
    const { id: networkId } = await engine.networks.create(request('app'));
    const network = engine.networks.find('app');
    const id = await engine.create({}, 'web');
    await engine.containers.start(id);
    await engine.containers.connectNetwork('web', network, { Aliases: ['db'] });
    const { networks } = engine.containers.find('web').state;
    expect(networks['app']).toMatchObject({ networkId, endpoint: { interfaceName: 'eth1' } });
    await expect(engine.containers.connectNetwork('web', network, {})).rejects.toThrow(
      'endpoint with name web already exists in network app',
    );
    await engine.containers.disconnectNetwork('web', network);
    expect(Object.keys(networks)).toEqual(['bridge']);
    expect(host.endpoints.size).toBe(1);
    await expect(engine.containers.disconnectNetwork('web', network)).rejects.toThrow(
      'is not connected to network',
    );
    await expect(engine.containers.connectNetwork('web', engine.networks.find('host'), {})).rejects.toThrow(
      'cannot be disconnected from host network or connected to host network',
    );
  });

  it('moves the default route and the ports to the network of the highest priority, and back', async () => {
    await engine.networks.create(request('app'));
    const network = engine.networks.find('app');
    const id = await engine.create(
      { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } },
      'web',
    );
    await engine.containers.start(id);
    const { networks } = engine.containers.find('web').state;
    const gateways = () =>
      Object.entries(networks).map(([name, { endpoint }]) => [
        name,
        endpoint?.gateway,
        endpoint?.ports.length,
      ]);
    await engine.containers.connectNetwork('web', network, { GwPriority: 1 });
    expect(gateways()).toEqual([
      ['bridge', undefined, 0],
      ['app', '172.17.0.1', 1],
    ]);
    await engine.containers.disconnectNetwork('web', network);
    expect(gateways()).toEqual([['bridge', '172.17.0.1', 1]]);
  });

  it('keeps a network that is named by its id under its name', async () => {
    const { id: networkId } = await engine.networks.create(request('app'));
    const id = await engine.create({ HostConfig: { NetworkMode: networkId.slice(0, 12) } });
    expect(Object.keys(engine.containers.find(id).state.networks)).toEqual(['app']);
  });
});

describe('renderNetwork', () => {
  it('has the shape of dockerd', async () => {
    const bridge = engine.networks.find('bridge');
    expect(renderNetwork(bridge, undefined, [])).toMatchObject({
      Name: 'bridge',
      Scope: 'local',
      Driver: 'bridge',
      IPAM: { Driver: 'default', Options: null, Config: [] },
      Containers: {},
      Options: { 'com.docker.network.bridge.name': 'tare0' },
      ConfigFrom: { Network: '' },
    });
    const none = renderNetwork(engine.networks.find('none'), undefined, []);
    expect(none).toMatchObject({ Driver: 'null', IPAM: { Config: null } });
  });
});
