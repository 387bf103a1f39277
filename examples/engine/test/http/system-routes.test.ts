import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { unauthorized } from '../../src/errors.ts';
import { refusedRoutes } from '../../src/http/routes/refused.ts';
import { systemRoutes } from '../../src/http/routes/system.ts';
import { SystemInfo } from '../../src/system/system-info.ts';
import { makeImages } from '../images/fixture.ts';
import { serve } from './harness.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-system-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function serveSystem(...flags: string[]) {
  const engine = makeImages();
  const { config } = loadConfig(['--config-file', '/dev/null', '--data-root', directory, ...flags]);
  const volume = {
    name: 'v1',
    created: '2024-01-01T00:00:00Z',
    labels: null,
    options: null,
    anonymous: false,
  };
  const system = new SystemInfo({
    config,
    events: engine.events,
    images: engine.images,
    containers: {
      counts: () => ({ running: 2, paused: 1, stopped: 3 }),
      list: () => Promise.resolve([{ Id: 'c1', SizeRw: 7 }]),
      usersOfVolume: () => ['c1'],
    },
    volumes: { list: () => [volume], mountpoint: (name) => `/v/${name}`, size: () => Promise.resolve(99) },
    login: ({ password }) =>
      password === 'right'
        ? Promise.resolve({ identityToken: '' })
        : Promise.reject(unauthorized('unauthorized: incorrect username or password')),
    buildCache: { list: () => Promise.resolve([]) },
    storageDriver: 'overlay2',
  });
  return Object.assign(await serve([...systemRoutes(system), ...refusedRoutes()]), { engine });
}

const json = (reply: { body: string }) => JSON.parse(reply.body) as Record<string, unknown>;

describe('_ping', () => {
  it('is OK, and tells versions without a body to HEAD', async () => {
    await using server = await serveSystem();
    const { status, body, headers } = await server.call('GET', '/_ping');
    expect({ status, body }).toEqual({ status: 200, body: 'OK' });
    expect(headers).toMatchObject({
      'api-version': '1.51',
      'cache-control': 'no-cache, no-store, must-revalidate',
      pragma: 'no-cache',
      swarm: 'inactive',
      'docker-experimental': 'false',
      'content-type': 'text/plain; charset=utf-8',
    });
    const head = await server.call('HEAD', '/_ping');
    expect(head).toMatchObject({ status: 200, body: '' });
    expect(head.headers['content-length']).toBe('0');
  });
});

describe('version', () => {
  it('is one that tools can parse', async () => {
    await using server = await serveSystem();
    const version = json(await server.call('GET', '/version'));
    expect(version).toMatchObject({ ApiVersion: '1.51', MinAPIVersion: '1.24', Os: 'linux' });
    expect(version['Version']).toMatch(/^\d+\.\d+\.\d+\+tare\.\d+\.\d+\.\d+$/);
    expect(version['Components']).toMatchObject([{ Name: 'Engine', Version: version['Version'] }]);
  });
});

describe('info', () => {
  it('has every field that clients look at', async () => {
    await using server = await serveSystem(
      '--registry-mirror',
      'http://127.0.0.1:5000',
      '--insecure-registry',
      'r:1',
    );
    const info = json(await server.call('GET', '/info'));
    expect(info).toMatchObject({
      Containers: 6,
      ContainersRunning: 2,
      ContainersPaused: 1,
      ContainersStopped: 3,
      Images: 0,
      Driver: 'overlay2',
      DockerRootDir: directory,
      OSType: 'linux',
      IndexServerAddress: 'https://index.docker.io/v1/',
      RegistryConfig: {
        Mirrors: ['http://127.0.0.1:5000'],
        InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8'],
        IndexConfigs: { 'docker.io': { Official: true }, 'r:1': { Secure: false } },
      },
      Swarm: { LocalNodeState: 'inactive', ControlAvailable: false },
      LiveRestoreEnabled: true,
      Labels: [],
      GenericResources: null,
    });
    for (const field of ['NCPU', 'MemTotal', 'NFd']) expect(info[field]).toBeGreaterThan(0);
    expect(info['Runtimes']).toHaveProperty([info['DefaultRuntime'] as string]);
  });

  it('keeps the id of the engine', async () => {
    const ids: unknown[] = [];
    for (let i = 0; i < 2; i += 1) {
      await using server = await serveSystem();
      ids.push(json(await server.call('GET', '/info'))['ID']);
    }
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(ids[1]).toBe(ids[0]);
  });
});

describe('df', () => {
  it('adds up images, containers and volumes, or those asked for', async () => {
    await using server = await serveSystem();
    await server.engine.registry.image('x:1', ['one']);
    await server.engine.pull('x:1');
    const { sizeBytes } = server.engine.images.resolve('x:1');
    expect(json(await server.call('GET', '/system/df'))).toMatchObject({
      LayersSize: sizeBytes,
      Images: [{ RepoTags: ['x:1'], Size: sizeBytes, SharedSize: 0 }],
      Containers: [{ SizeRw: 7 }],
      Volumes: [{ Name: 'v1', UsageData: { RefCount: 1, Size: 99 } }],
      BuildCache: [],
    });
    expect(json(await server.call('GET', '/system/df?type=volume'))).toMatchObject({
      Images: null,
      Containers: null,
    });
  });
});

describe('auth', () => {
  it('answers 200 and 401', async () => {
    await using server = await serveSystem();
    const login = (password: string) =>
      server.call('POST', '/auth', {
        body: JSON.stringify({ username: 'u', password, serveraddress: 'r:1' }),
      });
    expect(await login('right')).toMatchObject({
      status: 200,
      body: '{"Status":"Login Succeeded","IdentityToken":""}\n',
    });
    expect(await login('wrong')).toMatchObject({ status: 401 });
  });
});

describe('what there is not', () => {
  it('is refused so that clients fall back', async () => {
    await using server = await serveSystem();
    for (const path of ['/session', '/grpc']) {
      using client = await server.open();
      client.socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`);
      expect(await client.until('}')).toContain('HTTP/1.1 404 Not Found');
    }
    expect((await server.call('GET', '/plugins')).body).toBe('[]\n');
  });

  it.each([
    ['GET', '/swarm'],
    ['GET', '/nodes'],
    ['GET', '/services?status=true'],
    ['POST', '/services/create'],
    ['DELETE', '/secrets/x'],
    ['GET', '/tasks/x/logs'],
  ])('is an inactive swarm: %s %s', async (method, path) => {
    await using server = await serveSystem();
    const reply = await server.call(method, path);
    expect(reply.status).toBe(503);
    expect(reply.body).toContain('This node is not a swarm manager.');
  });
});
