import { readFileSync } from 'node:fs';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { afterAll, describe, expect, test } from 'vitest';
import { compileInsecureList, isInternal, isLoopback } from '../src/host-policy.ts';
import { resolveLocation } from '../src/http.ts';
import { RegistryClient } from '../src/index.ts';
import { redactUrl } from '../src/redact.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { addImage, collect, noise, quickClient } from './support.ts';
import { makeCertificate } from './certificate.ts';

describe('a redirect', () => {
  test('to another host carries no credentials, one on the same host does', async () => {
    await using storage = await startTestRegistry();
    await using registry = await startTestRegistry({
      challenge: ({ headers }) => (headers.authorization === undefined ? 'Basic realm="r"' : undefined),
    });
    const descriptor = storage.addBlob(noise(1_000));
    registry.addBlob(noise(1_000));
    registry.intercept(/blobs/, answer(307, { location: `/v2/other/blobs/${descriptor.digest}?again` }));
    registry.intercept(
      /again/,
      answer(307, { location: `${storage.url}/v2/x/blobs/${descriptor.digest}?X-Amz-Signature=s3cret` }),
    );
    await using client = quickClient();
    const credentials = { username: 'ann', password: 'pw' };
    const content = await client.repository(`${registry.host}/app`, { credentials }).fetch(descriptor);
    expect((await collect(content)).length).toBe(1_000);
    expect(registry.requests.at(-1)!.headers.authorization).toBeDefined();
    expect(storage.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test('whose target asks for credentials gets none', async () => {
    await using storage = await startTestRegistry({ challenge: () => 'Basic realm="give me"' });
    await using registry = await startTestRegistry();
    const descriptor = registry.addBlob(noise(1_000));
    registry.intercept(/blobs/, answer(307, { location: `${storage.url}/v2/x/blobs/y` }));
    await using client = quickClient();
    const credentials = { username: 'ann', password: 'pw' };
    const fetching = client.repository(`${registry.host}/app`, { credentials }).fetch(descriptor);
    await expect(fetching).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(storage.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test('is resumed at the registry, not at the storage that broke', async () => {
    await using storage = await startTestRegistry();
    await using registry = await startTestRegistry();
    const bytes = noise(200_000);
    const descriptor = registry.addBlob(bytes);
    storage.addBlob(bytes);
    registry.intercept(/blobs/, answer(307, { location: `${storage.url}/v2/x/blobs/${descriptor.digest}` }));
    storage.intercept(/blobs/, (_, __, serve) => serve({ cutAfterBytes: 100_000 }));
    await using client = quickClient();
    const content = await client.repository(`${registry.host}/app`).fetch(descriptor);
    expect((await collect(content)).equals(bytes)).toBe(true);
    expect(registry.log().length).toBe(2);
  });

  test('in a circle is left', async () => {
    await using registry = await startTestRegistry();
    registry.intercept(/blobs/, answer(307, { location: '?again' }), Infinity);
    await using client = quickClient();
    const fetching = client.repository(`${registry.host}/app`).fetch(registry.addBlob(noise(1)));
    await expect(fetching).rejects.toMatchObject({ code: 'INVALID_RESPONSE' });
    expect(registry.log().length).toBe(6);
  });

  test.each([
    ['https://r.example/', 'http://r.example/x', 'INSECURE'],
    ['https://r.example/', 'http://other.example/x', 'INSECURE'],
    ['https://r.example/', 'https://169.254.169.254/latest', 'INSECURE'],
    ['https://r.example/', 'https://127.0.0.1:8080/', 'INSECURE'],
    ['https://r.example/', 'https://[::1]/', 'INSECURE'],
    ['https://r.example/', 'https://[::ffff:10.0.0.1]/', 'INSECURE'],
    ['https://r.example/', 'https://localhost/', 'INSECURE'],
    ['https://r.example/', 'file:///etc/passwd', 'INVALID_RESPONSE'],
    ['https://r.example/', 'https://[', 'INVALID_RESPONSE'],
  ])('from %s to %s is refused', (from, to, code) => {
    const url = new URL(from);
    expect(() => resolveLocation(to, url, { method: 'GET', url })).toThrow(expect.objectContaining({ code }));
  });

  test.each([
    ['https://r.example/v2/', 'https://cdn.example/x?sig=1', 'https://cdn.example/x?sig=1'],
    ['https://r.example/v2/', '/other', 'https://r.example/other'],
    ['http://127.0.0.1:5000/', 'http://127.0.0.1:6000/', 'http://127.0.0.1:6000/'],
    ['https://10.1.2.3/', 'https://10.1.2.4/', 'https://10.1.2.4/'],
    ['https://r.example/', 'https://user:pw@cdn.example/', 'https://cdn.example/'],
  ])('from %s to %s is followed', (from, to, target) => {
    const url = new URL(from);
    expect(resolveLocation(to, url, { method: 'GET', url }).href).toBe(target);
  });
});

describe('an upload that is sent elsewhere', () => {
  test('carries no credentials there', async () => {
    await using storage = await startTestRegistry();
    await using registry = await startTestRegistry({
      challenge: ({ headers }) => (headers.authorization === undefined ? 'Basic realm="r"' : undefined),
    });
    registry.intercept(/POST/, answer(202, { location: `${storage.url}/v2/x/blobs/uploads/1` }));
    await using client = quickClient();
    const bytes = noise(1_000);
    const repository = client.repository(`${registry.host}/app`, {
      credentials: { username: 'a', password: 'pw' },
    });
    await repository.push(storage.addBlob(bytes), (async function* () { yield bytes; })()); // prettier-ignore
    expect(storage.requests.map(({ method, headers }) => [method, headers.authorization])).toEqual([
      ['PUT', undefined],
    ]);
  });
});

describe('mirrors', () => {
  /** A client for which `mirrors` stand before `origin`. */
  const mirrored = (origin: string, mirrors: string[], more = {}) =>
    quickClient({ mirrors: { [origin]: mirrors }, ...more });

  test('are asked first, and the registry not at all when they have it', async () => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    const { manifest, layer } = addImage(mirror, 'app', 'v1');
    await using client = mirrored(origin.host, [mirror.host]);
    const repository = client.repository(`${origin.host}/app`);
    expect(await repository.resolve('v1')).toEqual(manifest);
    await collect(await repository.fetch(layer));
    expect(origin.requests.length).toBe(0);
  });

  test.each([
    ['does not have it', answer(404)],
    ['wants credentials', answer(401)],
    ['is over its limit', answer(429, { 'retry-after': '3600' })],
    ['is broken', answer(500)],
    ['sends something else', answer(200, { 'content-type': 'text/html', 'content-length': '6' }, '<html>')],
  ])('are passed over when one %s', async (_, fault) => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    const { manifest, layer } = addImage(origin, 'app', 'v1');
    mirror.intercept(/app/, fault, Infinity);
    await using client = mirrored(origin.host, [mirror.host], { retry: { attempts: 1 } });
    const repository = client.repository(`${origin.host}/app`);
    expect(await repository.resolve(manifest.digest)).toEqual(manifest);
    expect((await collect(await repository.fetch(manifest))).length).toBe(manifest.size);
    expect((await collect(await repository.fetch(layer))).length).toBe(layer.size);
    expect(mirror.log().length).toBeGreaterThan(0);
  });

  test('that do not answer are not asked again and again', async () => {
    await using origin = await startTestRegistry();
    const { layer } = addImage(origin, 'app', 'v1');
    await using dead = await startTestRegistry();
    const { host } = dead;
    await dead[Symbol.asyncDispose]();
    await using second = await startTestRegistry();
    await using client = mirrored(origin.host, [host, second.host]);
    const repository = client.repository(`${origin.host}/app`);
    await repository.resolve('v1');
    await collect(await repository.fetch(layer));
    expect(second.log().length).toBeGreaterThanOrEqual(2);
    expect(origin.log().length).toBe(2);
  });

  test('that break in the middle of a blob are relieved by the registry, from that byte on', async () => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    const bytes = noise(300_000);
    const descriptor = origin.addBlob(bytes);
    mirror.addBlob(bytes);
    mirror.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes: 100_000 }));
    mirror.intercept(/GET .*blobs/, answer(503), Infinity);
    await using client = mirrored(origin.host, [mirror.host]);
    const content = await client.repository(`${origin.host}/app`).fetch(descriptor);
    expect((await collect(content)).equals(bytes)).toBe(true);
    expect(origin.log().length).toBe(1);
  });

  test.each([
    ['the whole', {}],
    ['a part', { cutAfterBytes: 100_000 }],
  ])('whose bytes are wrong are passed over when a blob is copied: %s', async (_, broken) => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    const { layer, manifest } = addImage(origin, 'app', 'v1', 300_000);
    // as a proxy that fell back to zeros: found out at the last byte alone, since the length is right
    mirror.blobs.set(layer.digest, Buffer.alloc(300_000));
    mirror.intercept(/GET .*blobs/, (_request, __, serve) => serve(broken), Infinity);
    await using client = mirrored(origin.host, [mirror.host], { retry: { attempts: 1 } });
    const content = await client.repository(`${origin.host}/app`).fetch(layer);
    await expect(collect(content)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      fetchAgain: true,
      message: expect.stringContaining(mirror.host),
    });

    const store = new MemoryContent();
    await copyGraph(client.repository(`${origin.host}/app`), store, manifest);
    expect(await store.has(layer)).toBe(true);
    expect(mirror.log().filter((line) => line.endsWith(layer.digest)).length).toBe(2);
  });

  test('never see the credentials of the registry, but get their own', async () => {
    const challenge = () => 'Basic realm="r"';
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry({ challenge });
    addImage(origin, 'app', 'v1');
    const asked: string[] = [];
    await using client = mirrored(origin.host, [mirror.host], {
      credentials: {
        get: async (registry: string) => {
          asked.push(registry);
          return { username: registry, password: 'pw-of-registry' };
        },
      },
    });
    await client.repository(`${origin.host}/app`).resolve('v1');
    const given = mirror.requests.flatMap(({ headers }) => headers.authorization ?? []);
    const mirrorsOwn = `Basic ${Buffer.from(`${mirror.host}:pw-of-registry`).toString('base64')}`;
    expect(new Set(given)).toEqual(new Set([mirrorsOwn]));
    expect(asked).toContain(mirror.host);
  });

  test('are not written to', async () => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    const { manifest } = addImage(origin, 'app', 'v1');
    await using client = mirrored(origin.host, [mirror.host]);
    const repository = client.repository(`${origin.host}/app`);
    await repository.has(manifest);
    await repository.tag(manifest, 'v2');
    expect(mirror.log().every((line) => line.startsWith('GET'))).toBe(true);
  });

  test('may be given as URLs with a path', async () => {
    await using origin = await startTestRegistry();
    await using mirror = await startTestRegistry();
    addImage(origin, 'app', 'v1');
    await using client = mirrored(origin.host, [`${mirror.url}/hub`]);
    await client.repository(`${origin.host}/app`).resolve('v1');
    expect(mirror.log()[0]).toBe('HEAD /hub/v2/app/manifests/v1');
  });

  test.each([['ftp://x'], ['http://'], ['a b'], ['https://x?y']])(
    'named %j are refused when the client is made',
    (bad) => {
      expect(() => new RegistryClient({ mirrors: { 'docker.io': [bad] } })).toThrow(RangeError);
    },
  );
});

describe('TLS', () => {
  const made = makeCertificate();
  afterAll(() => made?.[Symbol.dispose]());
  const tls = made && { key: readFileSync(made.key, 'utf8'), cert: readFileSync(made.certificate, 'utf8') };

  test.skipIf(tls === undefined)(
    'with a certificate that nobody signed is accepted on loopback only',
    async () => {
      await using registry = await startTestRegistry({ tls: tls! });
      const { manifest } = addImage(registry, 'app', 'v1');
      await using client = quickClient();
      expect(await client.repository(`${registry.host}/app`).resolve('v1')).toEqual(manifest);
    },
  );

  test.skipIf(tls === undefined)(
    'is verified elsewhere, unless the host is on the insecure list',
    async () => {
      await using registry = await startTestRegistry({ tls: tls! });
      addImage(registry, 'app', 'v1');
      // a name that is not loopback by its spelling, and yet leads there
      const host = registry.host.replace('127.0.0.1', '0.0.0.0');
      await using strict = quickClient();
      await expect(strict.repository(`${host}/app`).resolve('v1')).rejects.toMatchObject({
        code: 'UNREACHABLE',
        message: expect.stringMatching(/self.signed/),
      });
      await using lenient = quickClient({ insecure: ['0.0.0.0/8'] });
      expect((await lenient.repository(`${host}/app`).resolve('v1')).size).toBeGreaterThan(0);
    },
  );

  test('is what a registry elsewhere must speak: plain http is only tried where allowed', async () => {
    await using registry = await startTestRegistry();
    addImage(registry, 'app', 'v1');
    const host = registry.host.replace('127.0.0.1', '0.0.0.0');
    await using strict = quickClient({ retry: { attempts: 1 } });
    await expect(strict.repository(`${host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    await using lenient = quickClient({ insecure: [host] });
    expect((await lenient.repository(`${host}/app`).resolve('v1')).size).toBeGreaterThan(0);
  });
});

describe('policy', () => {
  test.each([
    'localhost',
    'LOCALHOST:5000',
    'a.localhost',
    '127.0.0.1',
    '127.9.9.9:80',
    '[::1]:5000',
    '[::ffff:127.0.0.1]',
  ])('%s is loopback', (host) => {
    expect(isLoopback(host)).toBe(true);
    expect(isInternal(host)).toBe(true);
  });

  test.each(['localhost.example', '128.0.0.1', '[::2]', 'example', '127.0.0.1.example'])(
    '%s is not',
    (host) => {
      expect(isLoopback(host)).toBe(false);
    },
  );

  test.each([
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1:5000',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '[fd00::1]',
    '[fe80::1]',
  ])('%s is internal', (host) => expect(isInternal(host)).toBe(true));

  test('the insecure list knows hosts, hosts with ports, and networks', () => {
    const insecure = compileInsecureList(['a.example', 'b.example:5000', '10.0.0.0/8', 'fd00::/8']);
    expect(
      ['a.example', 'A.example:443', 'b.example:5000', '10.9.9.9:1', '[fd00::1]:5000'].every(insecure),
    ).toBe(true);
    expect(['b.example', 'b.example:5001', 'x.a.example', '11.0.0.1', '[fe00::1]'].some(insecure)).toBe(
      false,
    );
    for (const bad of ['http://a.example', 'a b', '10.0.0.0/x'])
      expect(() => compileInsecureList([bad])).toThrow(RangeError);
  });

  test('URLs in messages lose what may be secret', () => {
    expect(
      redactUrl('https://user:pw@r.example/v2/a?digest=sha256:a&X-Amz-Signature=s3cret&_state=s3cret'),
    ).toBe('https://REDACTED@r.example/v2/a?digest=sha256%3Aa&X-Amz-Signature=REDACTED&_state=REDACTED');
    expect(redactUrl('nonsense with s3cret')).toBe('REDACTED');
  });
});

test('as many connections to a host are open at once as are allowed', async () => {
  await using registry = await startTestRegistry();
  const { layer } = addImage(registry, 'app', 'v1');
  let open = 0;
  let most = 0;
  registry.intercept(/GET .*blobs/, async (_, response, serve) => {
    most = Math.max(most, (open += 1));
    response.once('close', () => (open -= 1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await serve();
  }, Infinity); // prettier-ignore
  for (const connectionsPerHost of [1, 3]) {
    most = 0;
    await using client = quickClient({ connectionsPerHost });
    const repository = client.repository(`${registry.host}/app`);
    await Promise.all(Array.from({ length: 9 }, async () => collect(await repository.fetch(layer))));
    expect(most).toBe(connectionsPerHost);
  }
});
