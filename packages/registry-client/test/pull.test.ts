import { MEDIA_TYPES } from '@tare/image-spec';
import { MemoryContent, copyGraph, isVouchedFor } from '@tare/image-spec/content';
import { describe, expect, test } from 'vitest';
import { RegistryError, type TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { addImage, collect, describeBytes, noise, quickClient } from './support.ts';

describe('pull', () => {
  test('copies an image, verified, with as few requests as it takes', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { manifest, layer, config } = addImage(registry, 'team/app', 'v1');
    const repository = client.repository(`${registry.host}/team/app:v1`);
    const store = new MemoryContent();
    const root = await repository.resolve();
    expect(root).toEqual(manifest);
    await copyGraph(repository, store, root);
    for (const descriptor of [manifest, layer, config]) expect(await store.has(descriptor)).toBe(true);
    expect(registry.log()).toEqual([
      'HEAD /v2/team/app/manifests/v1',
      `GET /v2/team/app/manifests/${manifest.digest}`,
      `GET /v2/team/app/blobs/${config.digest}`,
      `GET /v2/team/app/blobs/${layer.digest}`,
    ]);
  });

  test('vouches for a whole blob that it checks, and for no other stream', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { layer } = addImage(registry, 'app', 'v1', 500_000);
    const repository = client.repository(`${registry.host}/app`);
    const whole = await repository.fetch(layer);
    expect(isVouchedFor(whole, layer)).toBe(true);
    expect(isVouchedFor(whole, { ...layer, size: 1 })).toBe(false);
    const rest = await repository.fetch(layer, { offset: 1 });
    expect(isVouchedFor(rest, layer)).toBe(false);
    for (const stream of [whole, rest]) for await (const _ of stream) continue;
  });

  test('tells what moves, in bytes', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { layer } = addImage(registry, 'app', 'v1', 500_000);
    const events: TransferEvent[] = [];
    const repository = client.repository(`${registry.host}/app`, {
      onTransfer: (event) => events.push(event),
    });
    await collect(await repository.fetch(layer));
    expect(events.map(({ kind }) => kind).filter((kind, i, all) => kind !== all[i - 1])).toEqual([
      'start',
      'progress',
      'done',
    ]);
    expect(events.at(-1)).toMatchObject({
      transferredBytes: 500_000,
      totalBytes: 500_000,
      host: registry.host,
    });
    const bytes = events.map(({ transferredBytes }) => transferredBytes);
    expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
  });

  test('finds a digest by GET when HEAD does not tell it', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    registry.intercept(/^HEAD .*manifests/, answer(200, { 'content-type': MEDIA_TYPES.ociManifest }));
    expect(await client.repository(`${registry.host}/app`).resolve('v1')).toEqual(manifest);
  });

  test('says NOT_FOUND with the code of the registry', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const repository = client.repository(`${registry.host}/app`);
    const error = await repository.resolve('none').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RegistryError);
    expect(error).toMatchObject({
      code: 'NOT_FOUND',
      status: 404,
      errors: [{ code: 'MANIFEST_UNKNOWN' }],
      url: `${registry.url}/v2/app/manifests/none`,
    });
    await expect(repository.fetch(describeBytes(noise(5)))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      errors: [{ code: 'BLOB_UNKNOWN' }],
    });
  });

  test('lists tags and repositories over several pages', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    for (const tag of ['a', 'b', 'c', 'd', 'e']) addImage(registry, 'app', tag);
    addImage(registry, 'other', 'v1');
    expect(await Array.fromAsync(client.repository(`${registry.host}/app`).tags({ pageSize: 2 }))).toEqual(
      'abcde'.split(''),
    );
    expect(await Array.fromAsync(client.catalog(registry.host, { pageSize: 1 }))).toEqual(['app', 'other']);
  });

  test('refuses references that would leave the path', async () => {
    await using client = quickClient();
    for (const reference of ['../../x', 'a/b', '', 'sha256:x', '?x']) {
      await expect(client.repository('localhost:1/app').resolve(reference)).rejects.toMatchObject({
        code: 'INVALID_REFERENCE',
      });
    }
  });
});

describe('a hostile registry', () => {
  test('that sends other bytes of the same length is found out at the end', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const good = noise(100_000);
    const descriptor = describeBytes(good);
    const bad = Buffer.from(good);
    bad[99_999]! ^= 1;
    registry.blobs.set(descriptor.digest, bad);
    const repository = client.repository(`${registry.host}/app`);
    await expect(repository.fetch(descriptor).then(collect)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    const store = new MemoryContent();
    await expect(store.push(descriptor, await repository.fetch(descriptor))).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(await store.has(descriptor)).toBe(false);
  });

  test.each([
    ['shorter', 999],
    ['longer', 1_001],
  ])('that has a %s blob is refused before a byte moves', async (_, size) => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const descriptor = describeBytes(noise(1_000));
    registry.blobs.set(descriptor.digest, noise(size));
    await expect(client.repository(`${registry.host}/app`).fetch(descriptor)).rejects.toMatchObject({
      code: 'SIZE_MISMATCH',
    });
  });

  test('that sends a blob without an end is cut off one byte too late at most', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const descriptor = describeBytes(noise(1_000));
    let ended = false;
    registry.intercept(/GET .*blobs/, (_, response) => {
      response.on('close', () => (ended = true));
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(10_000)));
      };
      response.on('drain', more);
      more();
    });
    const content = await client.repository(`${registry.host}/app`).fetch(descriptor);
    await expect(collect(content)).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    await expect.poll(() => ended).toBe(true);
  });

  test('that ends a body early without announcing its length is found out', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const descriptor = describeBytes(noise(1_000));
    registry.intercept(/GET .*blobs/, (_, response) => {
      response.write(noise(1_000).subarray(0, 400));
      response.end();
    });
    const content = await client.repository(`${registry.host}/app`).fetch(descriptor);
    await expect(collect(content)).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
  });

  test('that sends a manifest without an end is left after 4 MiB', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    let sent = 0;
    registry.intercept(
      /(GET|HEAD) .*manifests/,
      (request, response) => {
        response.writeHead(200, { 'content-type': MEDIA_TYPES.ociManifest });
        if (request.method === 'HEAD') return void response.end();
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(100_000, ' '))) sent += 100_000;
        };
        response.on('drain', more);
        more();
      },
      Infinity,
    );
    const repository = client.repository(`${registry.host}/app`);
    await expect(repository.resolve('v1')).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect(sent).toBeLessThan(40_000_000);
  });

  test.each([
    [
      'another digest than asked for',
      { 'docker-content-digest': `sha256:${'1'.repeat(64)}`, 'content-length': '7' },
    ],
    ['no valid digest', { 'docker-content-digest': 'sha256:../../x' }],
  ])('whose header names %s does not get through with it', async (_, headers) => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    registry.intercept(
      /manifests/,
      answer(200, { 'content-type': MEDIA_TYPES.ociManifest, ...headers }, '{"a":1}'),
      2,
    );
    await expect(client.repository(`${registry.host}/app`).resolve(manifest.digest)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
  });

  test('that gives another manifest for a digest is refused', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    registry.intercept(
      /GET .*manifests/,
      answer(200, { 'content-type': manifest.mediaType }, 'x'.repeat(manifest.size)),
    );
    await expect(client.repository(`${registry.host}/app`).fetch(manifest)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
  });

  test.each([['{'], ['[]'], ['{"tags":5}'], ['{"tags":[5]}'], ['<html>']])(
    'that lists tags as %s is told apart from an empty list',
    async (body) => {
      await using registry = await startTestRegistry();
      await using client = quickClient();
      registry.intercept(/tags/, answer(200, {}, body));
      await expect(Array.fromAsync(client.repository(`${registry.host}/app`).tags())).rejects.toMatchObject({
        code: 'INVALID_RESPONSE',
      });
    },
  );

  test.each([
    ['http://elsewhere.example/v2/app/tags/list'],
    ['//elsewhere.example/x'],
    ['file:///etc/passwd'],
  ])('that names the next page %s is not followed there', async (link) => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    registry.intercept(/tags/, answer(200, { link: `<${link}>; rel="next"` }, '{"tags":["a"]}'));
    await expect(Array.fromAsync(client.repository(`${registry.host}/app`).tags())).rejects.toMatchObject({
      code: 'INVALID_RESPONSE',
    });
  });

  test('cannot drive a terminal or flood it through its messages', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const message = `\u001b[2J${'x'.repeat(100_000)}`;
    const body = JSON.stringify({ errors: Array.from({ length: 100 }, () => ({ code: 'DENIED', message })) });
    registry.intercept(/manifests/, answer(403, {}, body), Infinity);
    const error = (await client
      .repository(`${registry.host}/app`)
      .resolve('v1')
      .catch((reason: unknown) => reason)) as RegistryError;
    expect(error.code).toBe('DENIED');
    expect(error.message).not.toContain('\u001b');
    expect(error.message.length).toBeLessThan(3_000);
    expect(error.errors.length).toBeLessThan(10);
  });
});

describe('a broken line', () => {
  test('is mended with Range, from wherever it broke', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const bytes = noise(300_000);
    const descriptor = registry.addBlob(bytes);
    for (const cutAfterBytes of [1, 100_000, 65_536]) {
      registry.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes }));
    }
    const events: TransferEvent[] = [];
    const repository = client.repository(`${registry.host}/app`, {
      onTransfer: (event) => events.push(event),
    });
    expect((await collect(await repository.fetch(descriptor))).equals(bytes)).toBe(true);
    const ranges = registry.requests
      .filter(({ path }) => path.includes('blobs'))
      .map(({ headers }) => headers.range);
    // a reset may take with it what was on its way, so where it broke is for the client to tell
    const brokeAt = events.filter(({ kind }) => kind === 'retry').map((event) => event.transferredBytes);
    expect(brokeAt.length).toBe(3);
    expect(ranges).toEqual([
      undefined,
      ...brokeAt.map((offset) => (offset === 0 ? undefined : `bytes=${offset}-`)),
    ]);
  });

  test('is mended although the registry does not know Range', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const bytes = noise(200_000);
    const descriptor = registry.addBlob(bytes);
    registry.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes: 70_000 }));
    registry.intercept(/GET .*blobs/, (request, _, serve) => {
      delete request.headers.range;
      return serve();
    });
    const repository = client.repository(`${registry.host}/app`);
    expect((await collect(await repository.fetch(descriptor))).equals(bytes)).toBe(true);
  });

  test('of a download that began later is mended as well', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const bytes = noise(200_000);
    const descriptor = registry.addBlob(bytes);
    registry.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes: 70_000 }));
    const repository = client.repository(`${registry.host}/app`);
    const rest = await collect(await repository.fetch(descriptor, { offset: 100_000 }));
    expect(rest.equals(bytes.subarray(100_000))).toBe(true);
    // a registry that does not know Range sends everything
    registry.intercept(/GET .*blobs/, (request, _, serve) => {
      delete request.headers.range;
      return serve();
    });
    const whole = await collect(await repository.fetch(descriptor, { offset: 199_999 }));
    expect(whole.equals(bytes.subarray(199_999))).toBe(true);
    const before = registry.log().length;
    expect((await collect(await repository.fetch(descriptor, { offset: 200_000 }))).length).toBe(0);
    expect(registry.log().length).toBe(before);
  });

  test('that never brings a byte is given up', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient({ retry: { baseMs: 1, maxMs: 1, attempts: 3 } });
    const descriptor = registry.addBlob(noise(1_000));
    registry.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes: 10 }));
    registry.intercept(/GET .*blobs/, (_, response) => void response.socket?.resetAndDestroy(), Infinity);
    const content = await client.repository(`${registry.host}/app`).fetch(descriptor);
    await expect(collect(content)).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(registry.log().length).toBe(4);
  });

  test('is not mended with another range than asked for', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const descriptor = registry.addBlob(noise(1_000));
    registry.intercept(/GET .*blobs/, (_, __, serve) => serve({ cutAfterBytes: 10 }));
    registry.intercept(/GET .*blobs/, answer(206, { 'content-range': 'bytes 20-999/1000' }, noise(980)));
    const content = await client.repository(`${registry.host}/app`).fetch(descriptor);
    await expect(collect(content)).rejects.toMatchObject({ code: 'INVALID_RESPONSE' });
  });
});

describe('retries', () => {
  test('wait as long as Retry-After says, all requests of the registry together', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    addImage(registry, 'app', 'v1');
    const repository = client.repository(`${registry.host}/app`);
    await repository.resolve('v1');
    registry.intercept(/manifests/, answer(429, { 'retry-after': '1' }));
    const started = performance.now();
    await repository.resolve('v1');
    expect(performance.now() - started).toBeGreaterThan(950);
  });

  test('end with RATE_LIMITED when the wait would be too long', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const body = JSON.stringify({
      errors: [{ code: 'TOOMANYREQUESTS', message: 'You have reached your limit' }],
    });
    registry.intercept(/manifests/, answer(429, { 'retry-after': '21600' }, body));
    await expect(client.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      retryAfterMs: 21_600_000,
    });
    expect(registry.log().length).toBe(1);
  });

  test('help over failures that pass', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const { manifest } = addImage(registry, 'app', 'v1');
    const repository = client.repository(`${registry.host}/app`);
    registry.intercept(/HEAD/, answer(503));
    registry.intercept(/HEAD/, (_, response) => void response.socket?.resetAndDestroy());
    registry.intercept(/HEAD/, answer(500));
    expect(await repository.resolve('v1')).toEqual(manifest);
  });

  test('are not made when nobody listens', async () => {
    await using registry = await startTestRegistry();
    const { host } = registry;
    await registry[Symbol.asyncDispose]();
    await using client = quickClient({ retry: { baseMs: 10_000 } });
    await expect(client.repository(`${host}/app`).resolve('v1')).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
  });

  test('stop when the caller does', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient({ retry: { baseMs: 60_000 } });
    registry.intercept(/manifests/, answer(503), Infinity);
    const reason = new Error('enough');
    const controller = new AbortController();
    const resolving = client.repository(`${registry.host}/app`).resolve('v1', { signal: controller.signal });
    await expect.poll(() => registry.log().length).toBe(1);
    controller.abort(reason);
    await expect(resolving).rejects.toBe(reason);
  });
});

test('an aborted download rejects with the reason and closes the connection', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = registry.addBlob(noise(2_000_000));
  let closed = false;
  registry.intercept(/GET .*blobs/, (_, response) => {
    response.writeHead(200, { 'content-length': '2000000' });
    response.write(noise(100_000));
    response.on('close', () => (closed = true));
  });
  const reason = new Error('changed my mind');
  const controller = new AbortController();
  const content = await client
    .repository(`${registry.host}/app`)
    .fetch(descriptor, { signal: controller.signal });
  const reading = (async () => {
    for await (const _ of content) controller.abort(reason);
  })();
  await expect(reading).rejects.toBe(reason);
  await expect.poll(() => closed).toBe(true);
});

test('a reader that leaves early closes the connection', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const descriptor = registry.addBlob(noise(2_000_000));
  let closed = false;
  registry.intercept(/GET .*blobs/, (_, response) => {
    response.writeHead(200, { 'content-length': '2000000' });
    response.write(noise(100_000));
    response.on('close', () => (closed = true));
  });
  for await (const _ of await client.repository(`${registry.host}/app`).fetch(descriptor)) break;
  await expect.poll(() => closed).toBe(true);
});
