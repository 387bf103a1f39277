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
