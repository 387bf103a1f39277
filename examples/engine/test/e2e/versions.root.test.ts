/** Every version of the API: what its clients were promised they find, and what is newer they do not stumble over. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();
const VERSIONS = ['1.24', '1.41', '1.44', '1.45', '1.50', '1.51'];

describe.skipIf(missing !== undefined)(`versions${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let image: string;
  beforeAll(async () => {
    lab = await startLab({ apiVersion: '1.51' });
    image = encodeURIComponent(lab.busybox);
    await lab.ok(['network', 'create', '--label', 'a=b', 'net']);
    await lab.ok([
      'run',
      '-d',
      '--name',
      'all',
      '--net',
      'net',
      '--network-alias',
      'also',
      '-p',
      '127.0.0.1::80',
      '-v',
      'vol:/vol',
      '-v',
      '/etc:/host:ro',
      '--tmpfs',
      '/t',
      '--health-cmd',
      'true',
      '-m',
      '64m',
      '-e',
      'A=b',
      '-l',
      'k=v',
      lab.busybox,
      'sleep',
      '600',
    ]);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  // the wire between lab and daemon holds each of these against the lists of fields of its version
  test.for(VERSIONS)('%s: all that can be looked at', async (version) => {
    const paths = [
      '/containers/json?all=1&size=1',
      '/containers/all/json?size=1',
      '/containers/all/top',
      '/containers/all/stats?stream=0',
      '/containers/all/changes',
      '/images/json?shared-size=1',
      `/images/${image}/json`,
      `/images/${image}/history`,
      '/networks',
      '/networks/net',
      '/networks/bridge',
      '/volumes',
      '/volumes/vol',
      '/info',
      '/version',
      '/system/df',
      '/plugins',
      '/events?since=1&until=2',
    ];
    for (const path of paths) {
      const { status, body } = await lab.api('GET', `/v${version}${path}`);
      expect(status, `${path}: ${body.toString()}`).toBe(200);
    }
    expect(lab.wire.complaints).toEqual([]);
  });

  test('has held every kind of reply against its schema', () => {
    const routes = [...lab.wire.seen.keys()];
    expect(routes).toEqual(
      expect.arrayContaining([
        'GET /containers/:id/json',
        'GET /containers/json',
        'GET /images/:name*/json',
        'GET /info',
        'GET /networks/:id',
        'GET /system/df',
        'POST /containers/create',
      ]),
    );
  });

  const get = async (version: string, path: string): Promise<Record<string, unknown>> =>
    (await lab.api('GET', `/v${version}${path}`)).json() as Record<string, unknown>;

  test('images: VirtualSize below 1.44, config of a container below 1.50, its container below 1.45', async () => {
    const at = (version: string) => get(version, `/images/${image}/json`);
    expect(await at('1.43')).toHaveProperty('VirtualSize');
    expect(await at('1.44')).not.toHaveProperty('VirtualSize');
    expect(await at('1.44')).toHaveProperty('ContainerConfig');
    expect(await at('1.45')).not.toHaveProperty('ContainerConfig');
    expect(await at('1.49')).toHaveProperty('Config.AttachStdin');
    expect(await at('1.50')).not.toHaveProperty('Config.AttachStdin');
  });

  test('info: what was there once', async () => {
    const at = (version: string) => get(version, '/info');
    expect(await at('1.24')).toHaveProperty('SecurityOptions', expect.arrayContaining(['seccomp']));
    expect(await at('1.41')).toHaveProperty('KernelMemory', false);
    expect(await at('1.42')).not.toHaveProperty('KernelMemory');
    expect(await at('1.46')).toHaveProperty('RegistryConfig.AllowNondistributableArtifactsCIDRs', null);
    expect(await at('1.48')).toHaveProperty('RuncCommit.Expected');
    expect(await at('1.49')).not.toHaveProperty('RuncCommit.Expected');
    expect(await at('1.48')).not.toHaveProperty('FirewallBackend');
    expect(await at('1.49')).toHaveProperty('FirewallBackend');
    expect(await at('1.49')).toHaveProperty('BridgeNfIptables', false);
    expect(await at('1.50')).not.toHaveProperty('BridgeNfIptables');
  });

  test('containers: the short id is an alias below 1.45, a name of DNS from 1.44 on', async () => {
    const at = async (version: string) => {
      const { NetworkSettings: settings, Id: id } = (await get(version, '/containers/all/json')) as {
        Id: string;
        NetworkSettings: { Networks: { net: { Aliases: string[]; DNSNames: string[] | null } } };
      };
      return { short: id.slice(0, 12), ...settings.Networks.net };
    };
    const old = await at('1.43');
    expect(old).toMatchObject({ Aliases: ['also', old.short], DNSNames: null });
    const current = await at('1.45');
    expect(current).toMatchObject({ Aliases: ['also'], DNSNames: ['all', 'also', current.short] });
  });

  test('lists: placeholders for images without a name below 1.43, a count of containers from 1.51 on', async () => {
    await lab.ok(['tag', lab.busybox, 'count:1']);
    const images = async (version: string) =>
      (await lab.api('GET', `/v${version}/images/json`)).json() as {
        Containers: number;
        RepoTags: string[];
      }[];
    const busybox = async (version: string) =>
      (await images(version)).find(({ RepoTags: tags }) => tags.includes('count:1'))!.Containers;
    expect(await busybox('1.50')).toBe(-1);
    expect(await busybox('1.51')).toBe(1);
  });

  test('networks: endpoints in the list below 1.28', async () => {
    const of = async (version: string) =>
      (
        (await lab.api('GET', `/v${version}/networks?filters={"name":["net"]}`)).json() as {
          Containers: object;
        }[]
      ).map(({ Containers: containers }) => Object.keys(containers).length);
    expect(await of('1.27')).toEqual([1]);
    expect(await of('1.28')).toEqual([0]);
  });

  test('platforms: an image for another one is not there', async () => {
    const other = encodeURIComponent(JSON.stringify({ os: 'linux', architecture: 's390x' }));
    const status = async (path: string) => (await lab.api('GET', path)).status;
    expect(await status(`/v1.49/images/${image}/json?platform=${other}`)).toBe(404);
    expect(await status(`/v1.48/images/${image}/json?platform=${other}`)).toBe(200);
    expect(await status(`/v1.49/images/${image}/json?platform=nonsense`)).toBe(400);
    expect(await status(`/v1.48/images/${image}/history?platform=${other}`)).toBe(404);
    expect(await status(`/v1.48/images/${image}/get?platform=${other}`)).toBe(404);
    expect((await lab.api('DELETE', `/v1.50/images/${image}?platforms=${other}`)).status).toBe(404);
    const archive = (await lab.api('GET', `/v1.51/images/${image}/get`)).body;
    const loaded = await lab.api('POST', `/v1.51/images/load?platform=${other}`, archive);
    expect(loaded.body.toString()).toContain('requested platform (linux/s390x) not found');
  });

  test.for<[string, string, number, string]>([
    ['GET', '/v1.23/info', 400, 'client version 1.23 is too old'],
    ['GET', '/v1.52/info', 400, 'client version 1.52 is too new'],
    ['GET', '/v1.51/containers/all/checkpoints', 501, 'experimental feature is disabled'],
    ['DELETE', '/v1.51/containers/all/checkpoints/x', 501, 'experimental feature is disabled'],
    ['GET', '/v1.51/plugins/x/y/json', 404, 'plugin "x/y" not found'],
    ['POST', '/v1.51/plugins/pull?remote=x', 501, 'plugins are not part of this engine'],
    ['GET', '/v1.51/swarm', 503, 'This node is not a swarm manager'],
    ['PUT', '/v1.51/volumes/vol', 503, 'not a swarm manager'],
    ['PATCH', '/v1.51/info', 404, 'page not found'],
    ['GET', '/v1.51/system/df?type=nonsense', 400, 'unknown object type: nonsense'],
  ])('%s %s is refused with %d', async ([method, path, status, message]) => {
    const reply = await lab.api(method, path);
    expect([reply.status, reply.headers['content-type']]).toEqual([status, 'application/json']);
    expect((reply.json() as { message: string }).message).toContain(message);
  });

  test('OPTIONS of anything is answered', async () => {
    expect((await lab.api('OPTIONS', '/v1.51/containers/all/json')).status).toBe(200);
  });
});
