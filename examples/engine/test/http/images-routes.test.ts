import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { imageRoutes } from '../../src/http/routes/images.ts';
import { registryRoutes, type RegistryRoutesOptions } from '../../src/http/routes/registries.ts';
import { makeImages } from '../images/fixture.ts';
import { serve } from './harness.ts';

/** Image end-points on a test registry. */
async function serveImages() {
  const engine = makeImages();
  const server = await serve([
    ...imageRoutes({ images: engine.images, storageDriver: 'overlay2' }),
    // the end-to-end tests have a registry to push to
    ...registryRoutes({ ...({} as RegistryRoutesOptions), puller: engine.puller }),
  ]);
  return Object.assign(server, { engine });
}

const json = (reply: { body: string }) => JSON.parse(reply.body) as Record<string, unknown>;

describe('POST /images/create', () => {
  it("streams Docker's messages, each ended by CRLF", async () => {
    await using server = await serveImages();
    await server.engine.registry.image('busybox:1.37', ['one']);
    const { status, headers, body } = await server.call(
      'POST',
      '/v1.45/images/create?fromImage=docker.io%2Flibrary%2Fbusybox&tag=1.37',
      { headers: { 'X-Registry-Auth': 'e30=' } },
    );
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('application/json');
    const lines = body.split('\r\n');
    expect(lines[0]).toBe('{"status":"Pulling from library/busybox","id":"1.37"}');
    expect(lines[1]).toMatch(/^\{"status":"Pulling fs layer","id":"[0-9a-f]{12}","progressDetail":\{\}\}$/);
    expect(lines.at(-2)).toBe('{"status":"Status: Downloaded newer image for busybox:1.37"}');
    expect(lines.at(-1)).toBe('');
  });

  it('takes a digest for a tag, and a trailing colon', async () => {
    await using server = await serveImages();
    const { manifest } = await server.engine.registry.image('busybox:latest', ['one']);
    const pull = (query: string) => server.call('POST', `/images/create?${query}`);
    expect((await pull(`fromImage=busybox&tag=${manifest.digest}`)).body).toContain(
      `"id":"${manifest.digest}"`,
    );
    expect((await pull('fromImage=busybox:&tag=latest')).body).toContain('"id":"latest"');
  });

  it('fails with an ordinary status before the first message', async () => {
    await using server = await serveImages();
    for (const [query, status, message] of [
      ['fromImage=busybox&tag=nope', 500, 'unknown'],
      ['fromImage=UPPER&tag=x', 400, 'invalid reference format'],
      ['fromImage=busybox&tag=b/d', 400, 'invalid reference format'],
      ['fromImage=scratch', 403, "'scratch' is a reserved name"],
      ['fromImage=', 400, 'fromImage'],
      ['fromImage=busybox&tag=1&platform=a/b/c/d', 400, 'platform'],
      ['fromImage=&fromSrc=', 400, 'fromImage'],
    ] as const) {
      const reply = await server.call('POST', `/images/create?${query}`);
      expect(reply.status, query).toBe(status);
      expect(reply.body).toContain(message);
    }
  });

  it('says what broke as the last message once it has begun', async () => {
    await using server = await serveImages();
    await server.engine.registry.image('app:1', ['one']);
    server.engine.unpacker.unpackLayer = () => Promise.reject(new Error('disk full'));
    const { status, body } = await server.call('POST', '/images/create?fromImage=app&tag=1');
    expect(status).toBe(200);
    expect(body.trimEnd().split('\r\n').at(-1)).toBe(
      '{"errorDetail":{"message":"disk full"},"error":"disk full"}',
    );
  });

  it('stops when the client goes away', async () => {
    await using server = await serveImages();
    const { layers } = await server.engine.registry.image('app:1', ['one']);
    server.engine.registry.held.set(layers[0]!.digest, new Promise(() => {}));
    using client = await server.open();
    client.socket.write(
      'POST /images/create?fromImage=app&tag=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
    );
    await client.until('Pulling fs layer');
    client.socket.destroy();
    await expect.poll(() => server.jobs.list()[0]?.state).toBe('cancelled');
    expect(server.engine.images.leases.has(layers[0]!.digest)).toBe(false);
  });
});

describe('GET /images/json', () => {
  it('prints null and [] where Docker does', async () => {
    await using server = await serveImages();
    const { id, manifest } = await server.engine.registry.image('plain:1', ['one'], { config: {} });
    await server.engine.pull('plain:1');
    const { body } = await server.call('GET', '/images/json');
    expect(body).toBe(
      `[{"Containers":0,"Created":1714979289,"Id":"${id}","Labels":null,"ParentId":"","RepoDigests":["plain@${manifest.digest}"],` +
        `"RepoTags":["plain:1"],"SharedSize":-1,"Size":${server.engine.images.get(id).sizeBytes}}]\n`,
    );
  });

  it('changes with the version of the client', async () => {
    await using server = await serveImages();
    const { id } = await server.engine.registry.image('plain:1', ['one']);
    await server.engine.pull('plain:1');
    server.engine.images.table.removeTag('docker.io/library/plain:1');
    for (const { repository, digest } of server.engine.images.table.digests(id)) {
      server.engine.images.table.removeDigest(repository, digest);
    }
    const list = async (version: string) =>
      (JSON.parse((await server.call('GET', `/${version}/images/json`)).body) as object[])[0];
    expect(await list('v1.51')).toMatchObject({ RepoTags: [], RepoDigests: [], Containers: 0 });
    expect(await list('v1.50')).toMatchObject({ Containers: -1 });
    expect(await list('v1.42')).toMatchObject({
      RepoTags: ['<none>:<none>'],
      RepoDigests: ['<none>@<none>'],
      VirtualSize: expect.any(Number) as number,
    });
  });

  it('counts shared layers on demand', async () => {
    await using server = await serveImages();
    await server.engine.registry.image('a:1', ['shared']);
    await server.engine.registry.image('b:1', ['shared', 'own']);
    await server.engine.pull('a:1');
    await server.engine.pull('b:1');
    const list = JSON.parse((await server.call('GET', '/images/json?shared-size=1')).body) as {
      SharedSize: number;
      Size: number;
      RepoTags: string[];
    }[];
    const [a, b] = ['a:1', 'b:1'].map((name) => list.find((image) => image.RepoTags[0] === name)!);
    expect(a!.SharedSize).toBe(a!.Size);
    expect(b!.SharedSize).toBe(a!.Size);
    expect(b!.Size).toBeGreaterThan(b!.SharedSize);
  });
});

describe('GET /images/{name}/json', () => {
  it('finds names with slashes, raw and encoded', async () => {
    await using server = await serveImages();
    const { id } = await server.engine.registry.image('localhost:5000/team/app:2', ['one']);
    await server.engine.pull('localhost:5000/team/app:2');
    for (const name of ['localhost:5000/team/app:2', 'localhost:5000%2Fteam%2Fapp:2', id, id.slice(7, 19)]) {
      expect(json(await server.call('GET', `/images/${name}/json`))['Id']).toBe(id);
    }
  });

  it('has the fields of the version', async () => {
    await using server = await serveImages();
    await server.engine.registry.image('x:1', ['one'], { config: { Cmd: ['sh'], Env: ['A=b'] } });
    await server.engine.pull('x:1');
    const inspect = async (version: string) => json(await server.call('GET', `/${version}/images/x:1/json`));
    const now = await inspect('v1.51');
    expect(now).toMatchObject({
      RepoTags: ['x:1'],
      Parent: '',
      Created: '2024-05-06T07:08:09.5Z',
      Architecture: 'amd64',
      Os: 'linux',
      GraphDriver: { Data: null, Name: 'overlay2' },
      RootFS: { Type: 'layers' },
    });
    expect(now['Config']).toEqual({
      Cmd: ['sh'],
      Entrypoint: null,
      Env: ['A=b'],
      Labels: null,
      OnBuild: null,
      User: '',
      Volumes: null,
      WorkingDir: '',
    });
    expect(now).not.toHaveProperty('ContainerConfig');
    expect((await inspect('v1.44'))['Config']).toMatchObject({ Hostname: '', Tty: false, Cmd: ['sh'] });
    expect(await inspect('v1.44')).toHaveProperty('ContainerConfig');
    expect(await inspect('v1.43')).toHaveProperty('VirtualSize');
  });

  it("says what is missing in Docker's words", async () => {
    await using server = await serveImages();
    expect(await server.call('GET', '/images/nosuchthing/json')).toMatchObject({
      status: 404,
      body: '{"message":"No such image: nosuchthing:latest"}\n',
    });
  });
});

describe('tag, remove, history, prune', () => {
  it('answer as dockerd does', async () => {
    await using server = await serveImages();
    const { id, manifest, chain } = await server.engine.registry.image('busybox:1.37', ['one']);
    await server.engine.pull('busybox:1.37');
    expect(
      await server.call('POST', '/images/busybox:1.37/tag?repo=127.0.0.1%3A5055%2Ft%2Fx&tag=1'),
    ).toMatchObject({
      status: 201,
      body: '',
    });
    const history = JSON.parse((await server.call('GET', '/images/busybox:1.37/history')).body) as object[];
    expect(history[0]).toMatchObject({ Id: id, Tags: ['127.0.0.1:5055/t/x:1', 'busybox:1.37'] });
    expect((await server.call('DELETE', '/images/127.0.0.1:5055/t/x:1')).body).toBe(
      '[{"Untagged":"127.0.0.1:5055/t/x:1"}]\n',
    );
    expect((await server.call('DELETE', '/images/busybox:1.37')).body).toBe(
      `[{"Untagged":"busybox:1.37"},{"Untagged":"busybox@${manifest.digest}"},{"Deleted":"${id}"},{"Deleted":"${chain[0]}"}]\n`,
    );
    expect((await server.call('POST', '/images/prune')).body).toBe(
      '{"ImagesDeleted":null,"SpaceReclaimed":0}\n',
    );
  });

  it('run as jobs that name the image', async () => {
    await using server = await serveImages();
    await server.call('DELETE', '/images/nosuch');
    expect(server.jobs.list()).toMatchObject([
      { kind: 'image.remove', subject: 'nosuch', state: 'failed', error: 'No such image: nosuch:latest' },
    ]);
  });
});

describe('hostile input', () => {
  it('gets a 4xx and a JSON message, and the engine goes on', async () => {
    await using server = await serveImages();
    const text = fc
      .string({ unit: 'binary', maxLength: 60 })
      .map((value) => encodeURIComponent(value.toWellFormed()));
    await fc.assert(
      fc.asyncProperty(text, text, text, async (name, a, b) => {
        for (const [method, path] of [
          ['GET', `/images/${name}x/json`],
          ['GET', `/images/${name}x/history`],
          ['DELETE', `/images/x${name}?force=${a}`],
          ['POST', `/images/x${name}/tag?repo=${a}&tag=${b}`],
          ['GET', `/images/json?filters=${a}x`],
          ['POST', `/images/create?fromImage=%3F${a}&tag=${b}`],
        ] as const) {
          const reply = await server.call(method, path);
          expect(reply.status, path).toBeGreaterThanOrEqual(400);
          expect(reply.status, path).toBeLessThan(500);
          expect(json(reply)['message'], path).toEqual(expect.any(String));
        }
      }),
      { numRuns: 60 },
    );
    expect((await server.call('GET', '/images/json')).status).toBe(200);
  });
});
