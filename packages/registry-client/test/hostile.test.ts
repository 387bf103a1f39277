import { ContainerError, type Descriptor } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { expect, test } from 'vitest';
import { answer, startTestRegistry, type Fault } from '../src/testing/index.ts';
import { addImage, chunks, collect, describeBytes, noise, quickClient } from './support.ts';

const bytes = noise(20_000);
/** A hang would be a failure of the promise, not of the machine. */
const TIME_LIMIT_MS = 20_000;

const endless: Fault = (_request, response) => {
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  const more = () => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536)));
  };
  response.on('drain', more);
  more();
};
const brokenChunks: Fault = (_request, response) => {
  response.socket!.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n');
};

test.each<[string, Fault, string]>([
  ['another content of the same length', answer(200, {}, Buffer.alloc(20_000)), 'DIGEST_MISMATCH'],
  ['a body that is too short', answer(200, {}, bytes.subarray(1)), 'SIZE_MISMATCH'],
  ['a body that is too long', answer(200, {}, noise(20_001)), 'SIZE_MISMATCH'],
  ['a body without end', endless, 'SIZE_MISMATCH'],
  ['broken chunks', brokenChunks, 'UNREACHABLE'],
  ['429 without end', answer(429, { 'retry-after': '0' }), 'RATE_LIMITED'],
  ['429 for a year', answer(429, { 'retry-after': '31536000' }), 'RATE_LIMITED'],
  ['a redirect to itself', answer(307, { location: '' }), 'INVALID_RESPONSE'],
  ['a redirect to a file', answer(307, { location: 'file:///etc/passwd' }), 'INVALID_RESPONSE'],
  ['401 without end', answer(401, { 'www-authenticate': 'Basic realm="x"' }), 'UNAUTHORIZED'],
])(
  'a registry that gives %s for a blob: a typed error, and nothing lands',
  async (_, fault, code) => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const blob: Descriptor = registry.addBlob(bytes);
    registry.intercept(/^GET .*blobs/, fault, 1_000);
    const credentials = { username: 'ann', password: 'secret' };
    const repository = client.repository(`${registry.host}/app`, { credentials });
    const store = new MemoryContent();
    const pull = async () => store.push(blob, await repository.fetch(blob));
    const error = await pull().catch((reason: unknown) => reason);
    expect(ContainerError.is(error)).toBe(true);
    expect(error).toMatchObject({ code });
    expect(await store.has(blob)).toBe(false);
    expect(registry.requests.length).toBeLessThan(20);
  },
  TIME_LIMIT_MS,
);

test('a connection that is reset after every n-th byte costs time, never a byte', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const blob = registry.addBlob(bytes);
  const repository = client.repository(`${registry.host}/app`);
  for (const cutAfterBytes of [1, 2, 1_000, 4_096, 9_999, 19_999, 20_000]) {
    const times = Math.min(20, Math.ceil(bytes.byteLength / cutAfterBytes));
    registry.intercept(/^GET .*blobs/, (_request, _response, serve) => serve({ cutAfterBytes }), times);
    expect(await collect(await repository.fetch(blob))).toEqual(bytes);
  }
});

test.each(['', 'null', '[]', '{', '"x"', '\u0000', '{"schemaVersion":2}'.repeat(2)])(
  'a tag list that is %j is a typed error',
  async (body) => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    addImage(registry, 'app', 'v1');
    registry.intercept(/tags\/list/, answer(200, {}, body));
    const listing = Array.fromAsync(client.repository(`${registry.host}/app`).tags());
    await expect(listing).rejects.toMatchObject({ code: 'INVALID_RESPONSE' });
  },
);

test('a storm of 429 holds back every request of the registry, and passes', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient({ retry: { attempts: 4, baseMs: 1, maxMs: 2 } });
  const blobs = Array.from({ length: 12 }, (_, i) => registry.addBlob(noise(1_000 + i)));
  const held = answer(429, { 'retry-after': '1' });
  registry.intercept(/^GET .*blobs/, held, 8);
  const repository = client.repository(`${registry.host}/app`);
  const began = performance.now();
  const all = await Promise.all(blobs.map(async (blob) => collect(await repository.fetch(blob))));
  expect(all.map(({ length }) => length)).toEqual(blobs.map(({ size }) => size));
  expect(performance.now() - began).toBeGreaterThan(900);
  // each was told at most once: what one hears counts for all
  expect(registry.log().length).toBe(20);
});

test.each<[string, Fault]>([
  ['refuses', answer(500)],
  ['gives nowhere to go on', answer(202)],
  ['sends elsewhere on another scheme', answer(202, { location: 'ftp://a.example/x' })],
  ['asks for chunks larger than any memory', answer(202, { location: '/u', 'oci-chunk-min-length': '9e15' })],
  ['answers with a number of bytes that never were', answer(202, { location: '/u', range: '0-99999999' })],
  ['breaks every connection', (request) => void request.socket.resetAndDestroy()],
])('a registry that %s at an upload: a typed error, in bounded tries', async (_, fault) => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  registry.intercept(/^(POST|PATCH|PUT|GET|DELETE) .*(uploads|\/u)/, fault, 1_000);
  const store = new MemoryContent();
  const content = Buffer.from(bytes);
  const blob = describeBytes(content);
  await store.push(blob, chunks(content));
  for (const chunkBytes of [undefined, 5_000]) {
    const before = registry.requests.length;
    const repository = client.repository(`${registry.host}/app`, { ...(chunkBytes && { chunkBytes }) });
    const error = await copyGraph(store, repository, blob).catch((reason: unknown) => reason);
    expect(ContainerError.is(error)).toBe(true);
    expect(registry.requests.length - before).toBeLessThan(60);
  }
  expect(registry.blobs.size).toBe(0);
});

test.each(['', 'null', '{', '{"manifests":5}', '{"schemaVersion":2,"manifests":[{"digest":"sha256:../x"}]}'])(
  'a list of referrers that is %j is a typed error',
  async (body) => {
    await using registry = await startTestRegistry({ referrers: true });
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    registry.intercept(/referrers/, answer(200, { 'content-type': 'application/json' }, body));
    const listing = Array.fromAsync(client.repository(`${registry.host}/app`).referrers(manifest));
    await expect(listing).rejects.toMatchObject({ code: 'INVALID_RESPONSE' });
  },
);

test('credentials do not follow a redirect to another origin', async () => {
  await using registry = await startTestRegistry();
  await using trap = await startTestRegistry();
  await using client = quickClient();
  const blob = registry.addBlob(bytes);
  trap.addBlob(bytes);
  registry.intercept(/^GET .*blobs/, answer(307, { location: `${trap.url}/v2/app/blobs/${blob.digest}` }));
  const credentials = { registryToken: 'secret' };
  const repository = client.repository(`${registry.host}/app`, { credentials });
  expect(await collect(await repository.fetch(blob))).toEqual(bytes);
  expect(registry.requests.at(-1)!.headers.authorization).toBe('Bearer secret');
  expect(trap.requests.length).toBe(1);
  expect(trap.requests[0]!.headers.authorization).toBeUndefined();
});
