/** What a registry may answer to a pull, and what comes of it. */
import { MEDIA_TYPES } from '@tare/image-spec';
import { MemoryContent } from '@tare/image-spec/content';
import { describe, expect, test } from 'vitest';
import { RegistryError } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';
import { addImage, collect, describeBytes, noise, quickClient } from './support.ts';

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
