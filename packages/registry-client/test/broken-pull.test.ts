/** Pulls over lines that break, from registries that want to be asked again, and for callers who give up. */

import type { Descriptor } from '@tare/image-spec';
import { describe, expect, test } from 'vitest';
import { type TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry, type TestRegistry } from '../src/testing/index.ts';
import { addImage, collect, noise, quickClient } from './support.ts';

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

/** A blob of which only the beginning comes, and whether its connection was closed. */
function stalling(registry: TestRegistry): { descriptor: Descriptor; closed: () => boolean } {
  const descriptor = registry.addBlob(noise(2_000_000));
  let closed = false;
  registry.intercept(/GET .*blobs/, (_, response) => {
    response.writeHead(200, { 'content-length': '2000000' });
    response.write(noise(100_000));
    response.on('close', () => (closed = true));
  });
  return { descriptor, closed: () => closed };
}

test('an aborted download rejects with the reason and closes the connection', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const { descriptor, closed } = stalling(registry);
  const reason = new Error('changed my mind');
  const controller = new AbortController();
  const content = await client
    .repository(`${registry.host}/app`)
    .fetch(descriptor, { signal: controller.signal });
  const reading = (async () => {
    for await (const _ of content) controller.abort(reason);
  })();
  await expect(reading).rejects.toBe(reason);
  await expect.poll(closed).toBe(true);
});

test('a reader that leaves early closes the connection', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const { descriptor, closed } = stalling(registry);
  for await (const _ of await client.repository(`${registry.host}/app`).fetch(descriptor)) break;
  await expect.poll(closed).toBe(true);
});
