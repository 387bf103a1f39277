import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { digestOf, type Descriptor } from '@tare/image-spec';
import { describe, expect, test } from 'vitest';
import type { TransferEvent } from '../src/index.ts';
import { answer, startTestRegistry, startTokenServer, type Fault } from '../src/testing/index.ts';
import { addImage, chunks, describeBytes, noise, quickClient } from './support.ts';

const bytes = noise(300_000);
const blob = describeBytes(bytes);

async function holding(): Promise<MemoryContent> {
  const store = new MemoryContent();
  await store.push(blob, chunks(bytes));
  return store;
}

/** Breaks the connection when so much of a body has come. */
function resetAfter(limit: number): Fault {
  return (request) => {
    let seen = 0;
    const look = (chunk: Buffer | undefined): void => {
      seen += chunk?.length ?? 0;
      if (seen >= limit) request.socket.resetAndDestroy();
    };
    request.on('data', look);
    if (limit === 0) look(undefined);
  };
}

describe('an upload whose content can be opened again', () => {
  test('is made anew after a reset at every n-th byte', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const store = await holding();
    for (const [i, limit] of [0, 1, 65_535, 65_536, 150_000, 299_999, 300_000].entries()) {
      registry.intercept(/^PUT .*uploads/, resetAfter(limit), 1 + (i % 2));
      const events: TransferEvent[] = [];
      const onTransfer = (event: TransferEvent): void => void events.push(event);
      registry.blobs.clear();
      await copyGraph(store, client.repository(`${registry.host}/app`, { onTransfer }), blob);
      expect(registry.blobs.get(blob.digest)?.byteLength).toBe(bytes.byteLength);
      const kinds = events.map(({ kind }) => kind).filter((kind) => kind !== 'progress');
      const broken = ['start', 'retry'];
      expect(kinds).toEqual([...(i % 2 === 1 ? broken : []), ...broken, 'start', 'done']);
    }
  });

  test('gets a new token when the old one ran out on the way, once', async () => {
    let valid = 'first';
    await using tokens = await startTokenServer({ issue: () => valid });
    await using registry = await startTestRegistry({
      challenge: (request) => {
        // runs out between the opening of the upload and its bytes
        if (request.method === 'PUT' && valid === 'first') valid = 'second';
        return request.headers.authorization === `Bearer ${valid}`
          ? undefined
          : `Bearer realm="${tokens.realm}",service="test"`;
      },
    });
    await using client = quickClient();
    await copyGraph(await holding(), client.repository(`${registry.host}/app`), blob);
    expect(registry.blobs.has(blob.digest)).toBe(true);
    expect(tokens.requests.length).toBe(2);
  });

  test('ends with the failure of a registry that never takes it', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient({ retry: { baseMs: 1, maxMs: 1, attempts: 3 } });
    registry.intercept(/^PUT .*uploads/, answer(503), Infinity);
    const push = copyGraph(await holding(), client.repository(`${registry.host}/app`), blob);
    await expect(push).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(registry.log().filter((line) => line.startsWith('PUT')).length).toBe(3);
    registry.intercept(/^POST .*uploads/, answer(403), Infinity);
    await expect(
      copyGraph(await holding(), client.repository(`${registry.host}/app`), blob),
    ).rejects.toMatchObject({ code: 'DENIED' });
  });

  test('is not made again when it is the content that breaks', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const broken = Object.assign(new Error('gone'), { code: 'ECONNRESET' });
    let opened = 0;
    const push = client.repository(`${registry.host}/app`).pushFrom(blob, async () => {
      opened += 1;
      return (async function* () {
        yield bytes.subarray(0, 1_000);
        throw broken;
      })();
    });
    await expect(push).rejects.toBe(broken);
    expect(opened).toBe(1);
  });

  test('asks about a blob once, and opens nothing that is there or can be mounted', async () => {
    await using registry = await startTestRegistry();
    await using client = quickClient();
    const store = await holding();
    const never = async (): Promise<never> => {
      throw new Error('opened');
    };
    await copyGraph(store, client.repository(`${registry.host}/base`), blob);
    const before = registry.log().length;
    await client.repository(`${registry.host}/base`).pushFrom(blob, never);
    expect(registry.log().slice(before)).toEqual([`HEAD /v2/base/blobs/${blob.digest}`]);
    registry.intercept(/^HEAD/, answer(404));
    await client.repository(`${registry.host}/app`, { mountFrom: ['base'] }).pushFrom(blob, never);
    expect(registry.log().slice(before + 1).map((line) => line.split(' ')[0])).toEqual(['HEAD', 'POST']); // prettier-ignore
  });
});

test('a blob known by its sha512 is pushed and pulled as such', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const long: Descriptor = { ...blob, digest: await digestOf(bytes, 'sha512') };
  registry.intercept(/^PUT .*uploads/, answer(201));
  await client.repository(`${registry.host}/app`).push(long, chunks(bytes));
  expect(registry.log()).toContain('POST /v2/app/blobs/uploads/?digest-algorithm=sha512');
  registry.blobs.set(long.digest, bytes);
  const store = new MemoryContent();
  await copyGraph(client.repository(`${registry.host}/app`), store, long);
  expect(await store.has(long)).toBe(true);
});

test('a tag is deleted without its manifest', async () => {
  await using registry = await startTestRegistry();
  await using client = quickClient();
  const { manifest } = addImage(registry, 'app', 'v1');
  const repository = client.repository(`${registry.host}/app`);
  await repository.untag('v1');
  await repository.untag('v1');
  expect(await repository.has(manifest)).toBe(true);
  await expect(repository.resolve('v1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  for (const wrong of [manifest.digest, '../x', '']) {
    await expect(repository.untag(wrong)).rejects.toMatchObject({ code: 'INVALID_REFERENCE' });
  }
});

test('warnings are told once, and cannot drive a terminal', async () => {
  await using registry = await startTestRegistry();
  const told: unknown[] = [];
  await using client = quickClient({ onWarning: (warning) => told.push(warning) });
  addImage(registry, 'app', 'v1');
  const warning = '299 - "this repository \\"app\\" goes away", 299 - "\u001b[2Jx", 110 - "stale"';
  registry.intercept(/HEAD/, (_, response, serve) => {
    response.setHeader('warning', Buffer.from(warning).toString('latin1').replaceAll('\u001b', '\t'));
    return serve();
  }, Infinity); // prettier-ignore
  const repository = client.repository(`${registry.host}/app`);
  await repository.resolve('v1');
  await repository.resolve('v1');
  expect(told).toEqual([
    { host: registry.host, text: 'this repository "app" goes away' },
    { host: registry.host, text: ' [2Jx' },
  ]);
});
