import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, readFileSync, readSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEDIA_TYPES, parseDigest, type Descriptor } from '@tare/image-spec';
import { copyGraph, MemoryContent } from '@tare/image-spec/content';
import { contentStoreSuite } from '@tare/image-spec/testing';
import { afterEach, beforeEach, describe as describeGroup, expect, it, test, vi } from 'vitest';
import { openFileContent } from '../../src/index.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-content-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function describe(content: Uint8Array): Descriptor {
  const digest = parseDigest(`sha256:${createHash('sha256').update(content).digest('hex')}`);
  return { mediaType: 'application/octet-stream', digest, size: content.byteLength };
}

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}

contentStoreSuite({ describe: describeGroup, it }, 'a directory', () => openFileContent(root));

const hello = Buffer.from('hello, content');

test('keeps blobs where an OCI image layout does, readable only', async () => {
  const store = await openFileContent(root);
  await store.push(describe(hello), chunks(hello));
  const path = join(root, 'blobs/sha256', describe(hello).digest.slice(7));
  expect(store.path(describe(hello).digest)).toBe(path);
  expect((await stat(path)).mode & 0o777).toBe(0o444);
});

test.each([
  ['a longer stream', chunks(hello, hello), 'SIZE_MISMATCH'],
  ['a shorter stream', chunks(hello.subarray(1)), 'SIZE_MISMATCH'],
  ['other bytes of the same size', chunks(Buffer.from('hello, c0ntent')), 'DIGEST_MISMATCH'],
])('refuses %s and leaves nothing behind', async (_, content, code) => {
  const store = await openFileContent(root);
  await expect(store.push(describe(hello), content)).rejects.toMatchObject({ code });
  expect(await store.has(describe(hello))).toBe(false);
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
});

test('an endless stream is cut at the first byte too many', async () => {
  const store = await openFileContent(root);
  let pulled = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      pulled += 1;
      yield hello;
    }
  }
  await expect(store.push(describe(hello), endless())).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
  expect(pulled).toBe(2);
});

test('a failing stream passes its own error on and leaves nothing behind', async () => {
  const store = await openFileContent(root);
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield hello.subarray(0, 3);
    throw new Error('connection reset');
  }
  await expect(store.push(describe(hello), failing())).rejects.toThrow('connection reset');
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
});

test('ten pushes of one blob at a time read one stream only', async () => {
  const store = await openFileContent(root);
  let read = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    read += 1;
    yield hello;
  }
  await Promise.all(Array.from({ length: 10 }, () => store.push(describe(hello), counted())));
  expect(read).toBe(1);
});

test('a push that waits for a failing one goes on with its own stream', async () => {
  const store = await openFileContent(root);
  const reading = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield hello.subarray(0, 3);
    reading.resolve();
    await gate.promise;
    throw new Error('first one fails');
  }
  const first = store.push(describe(hello), failing());
  await reading.promise;
  const second = store.push(describe(hello), chunks(hello));
  gate.resolve();
  await expect(first).rejects.toThrow('first one fails');
  await second;
  expect(await store.has(describe(hello))).toBe(true);
});

test('an abort ends a push whose stream is silent, with the reason of the signal', async () => {
  const store = await openFileContent(root);
  const controller = new AbortController();
  const reading = Promise.withResolvers<void>();
  async function* silent(): AsyncGenerator<Uint8Array> {
    yield hello.subarray(0, 3);
    reading.resolve();
    await new Promise(() => undefined);
  }
  const push = store.push(describe(hello), silent(), { signal: controller.signal });
  await reading.promise;
  const waiting = store.push(describe(hello), chunks(hello), { signal: controller.signal });
  const both = Promise.allSettled([push, waiting]);
  const reason = new Error('user pressed ^C');
  controller.abort(reason);
  expect(await both).toEqual([
    { status: 'rejected', reason },
    { status: 'rejected', reason },
  ]);
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
});

test('reading says so when the file on disk is damaged', async () => {
  const store = await openFileContent(root);
  await store.push(describe(hello), chunks(hello));
  const path = store.path(describe(hello).digest);
  await rm(path);
  await writeFile(path, 'hello, c0ntent');
  await expect(collect(await store.fetch(describe(hello)))).rejects.toMatchObject({
    code: 'DIGEST_MISMATCH',
  });
  await truncate(path, 3);
  await expect(collect(await store.fetch(describe(hello)))).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
});

test('pushing again repairs a blob that was cut short', async () => {
  const store = await openFileContent(root);
  await store.push(describe(hello), chunks(hello));
  await chmod(store.path(describe(hello).digest), 0o644);
  await truncate(store.path(describe(hello).digest), 3);
  await store.push(describe(hello), chunks(hello));
  expect(await collect(await store.fetch(describe(hello)))).toEqual(hello);
});

test('a reader finishes a blob that is deleted under it', async () => {
  const store = await openFileContent(root);
  await store.push(describe(hello), chunks(hello));
  const stream = await store.fetch(describe(hello));
  await store.delete(describe(hello).digest);
  expect(await collect(stream)).toEqual(hello);
  expect(await store.has(describe(hello))).toBe(false);
});

test.each(['sha256:../../../etc/passwd', `sha256:${'A'.repeat(64)}`, 'sha256:abc', `md5:${'0'.repeat(32)}`])(
  'never makes a path of the digest %s',
  async (digest) => {
    const store = await openFileContent(root);
    const forged = { ...describe(hello), digest: digest as Descriptor['digest'] };
    await expect(store.push(forged, chunks(hello))).rejects.toMatchObject({ code: 'INVALID_DIGEST' });
    await expect(store.fetch(forged)).rejects.toMatchObject({ code: 'INVALID_DIGEST' });
    await expect(store.delete(forged.digest)).rejects.toMatchObject({ code: 'INVALID_DIGEST' });
  },
);

test('opening sweeps what a killed writer left, and never what a living one writes', async () => {
  const program = `
    const { openFileContent } = await import(${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)});
    const store = await openFileContent(${JSON.stringify(root)});
    await store.push(${JSON.stringify(describe(hello))}, (async function* () {
      yield Buffer.from('hel');
      console.log('writing');
      await new Promise((resolve) => setInterval(resolve, 2 ** 30).ref());
    })());`;
  const child = spawn(process.execPath, ['--conditions=@tare/source', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    const [ingestOfChild] = await readdir(join(root, 'ingest'));
    await openFileContent(root);
    expect(await readdir(join(root, 'ingest'))).toEqual([ingestOfChild]);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  const store = await openFileContent(root);
  expect(await readdir(join(root, 'ingest'))).toEqual([]);
  expect(await store.has(describe(hello))).toBe(false);
});

/** Twice as much as is written in one go. */
const large = randomBytes(2 * 1024 * 1024);

/** Opens `content` from a place on and keeps record of the places. */
function opener(content: Uint8Array, stopAt = content.byteLength) {
  const offsets: number[] = [];
  return {
    offsets,
    async open(offset: number): Promise<AsyncIterable<Uint8Array>> {
      offsets.push(offset);
      return (async function* () {
        for (let at = offset; at < stopAt; at += 64 * 1024)
          yield content.subarray(at, Math.min(stopAt, at + 64 * 1024));
        if (stopAt < content.byteLength) throw new Error('connection reset');
      })();
    },
  };
}

async function putManifest(content: MemoryContent, layer: Descriptor): Promise<Descriptor> {
  const put = async (mediaType: string, bytes: Buffer) => {
    const descriptor = { ...describe(bytes), mediaType };
    await content.push(descriptor, chunks(bytes));
    return descriptor;
  };
  const config = await put(MEDIA_TYPES.ociConfig, Buffer.from('{}'));
  const layers = [{ ...layer, mediaType: MEDIA_TYPES.ociLayerGzip }];
  const manifest = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociManifest, config, layers };
  return put(MEDIA_TYPES.ociManifest, Buffer.from(JSON.stringify(manifest)));
}

describeGroup('a transfer that broke off', () => {
  test('goes on where it stopped, in this process and in the next', async () => {
    const store = await openFileContent(root);
    const broken = opener(large, 1_000_000);
    await expect(store.pushFrom(describe(large), broken.open)).rejects.toThrow('connection reset');
    expect(await store.has(describe(large))).toBe(false);
    const again = opener(large, 1_500_000);
    await expect(store.pushFrom(describe(large), again.open)).rejects.toThrow('connection reset');
    const next = opener(large);
    await (await openFileContent(root)).pushFrom(describe(large), next.open);
    expect([broken.offsets, again.offsets, next.offsets]).toEqual([[0], [1_000_000], [1_500_000]]);
    expect(await collect(await store.fetch(describe(large)))).toEqual(large);
    expect((await stat(store.path(describe(large).digest))).mode & 0o777).toBe(0o444);
    expect(await readdir(join(root, 'ingest'))).toEqual([]);
  });

  test('that was complete but not checked asks for nothing', async () => {
    const store = await openFileContent(root);
    const hex = describe(hello).digest.slice(7);
    await writeFile(join(root, 'ingest', `partial.sha256-${hex}`), hello);
    const none = opener(hello);
    await store.pushFrom(describe(hello), none.open);
    expect(none.offsets).toEqual([]);
    expect(await collect(await store.fetch(describe(hello)))).toEqual(hello);
  });

  test.each([
    ['other bytes', Buffer.alloc(1000)],
    ['more than the blob has', Buffer.concat([large, large])],
  ])('and left %s is begun anew by a copy', async (_, rest) => {
    const store = await openFileContent(root);
    await writeFile(join(root, 'ingest', `partial.sha256-${describe(large).digest.slice(7)}`), rest);
    const source = new MemoryContent();
    await source.push(describe(large), chunks(large));
    await copyGraph(source, store, await putManifest(source, describe(large)));
    expect(await collect(await store.fetch(describe(large)))).toEqual(large);
  });

  test('with wrong bytes leaves nothing to go on from', async () => {
    const store = await openFileContent(root);
    const wrong = opener(Buffer.alloc(large.byteLength));
    await expect(store.pushFrom(describe(large), wrong.open)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(await readdir(join(root, 'ingest'))).toEqual([]);
  });

  test('is kept for a week', async () => {
    await openFileContent(root);
    const path = join(root, 'ingest', `partial.sha256-${'0'.repeat(64)}`);
    await writeFile(path, 'x');
    await openFileContent(root);
    expect((await readdir(join(root, 'ingest'))).length).toBe(1);
    const old = new Date(Date.now() - 8 * 24 * 3600 * 1000);
    await utimes(path, old, old);
    await openFileContent(root);
    expect(await readdir(join(root, 'ingest'))).toEqual([]);
  });

  test('ten that want one blob open it once', async () => {
    const store = await openFileContent(root);
    const one = opener(large);
    await Promise.all(Array.from({ length: 10 }, () => store.pushFrom(describe(large), one.open)));
    expect(one.offsets).toEqual([0]);
  });
});

describeGroup('a blob on its way', () => {
  const large = randomBytes(3_000_000);

  test('can be read as far as it is, and says when it has arrived', async () => {
    const store = await openFileContent(root);
    const more = Promise.withResolvers<void>();
    const { digest } = describe(large);
    expect(store.arriving(digest)).toBeUndefined();
    const begun = store.begun(describe(large));
    const pushing = store.push(
      describe(large),
      (async function* () {
        yield large.subarray(0, 1_000_000);
        await more.promise;
        yield large.subarray(1_000_000);
      })(),
    );
    await begun;
    const blob = store.arriving(digest)!;
    await vi.waitFor(() => expect(blob.bytes).toBe(1_000_000));
    expect(blob.whole).toBe(false);
    expect(await store.has(describe(large))).toBe(false);
    const fd = blob.open();
    try {
      const ended = new AbortController();
      const told: number[] = [];
      blob.onGrown(() => told.push(blob.bytes), ended.signal);
      const read = Buffer.alloc(1_000_000);
      expect(readSync(fd, read, 0, read.length, 0)).toBe(1_000_000);
      expect(read.equals(large.subarray(0, 1_000_000))).toBe(true);
      more.resolve();
      await blob.arrived;
      ended.abort();
      expect(told.at(-1)).toBe(3_000_000);
      expect(told).toEqual(told.toSorted((a, b) => a - b));
      expect(readFileSync(fd).equals(large)).toBe(true);
    } finally {
      closeSync(fd);
    }
    await pushing;
    expect(store.arriving(digest)).toBeUndefined();
    await store.begun(describe(large));
  });

  test('says when it will not arrive', async () => {
    const store = await openFileContent(root);
    const pushing = store.push(describe(large), chunks(large.subarray(1)));
    const refusal = expect(pushing).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    await store.begun(describe(large));
    const blob = store.arriving(describe(large).digest)!;
    await expect(blob.arrived).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    await refusal;
    expect(() => blob.open()).toThrow('ENOENT');
  });

  test('is waited for until the caller has enough; an empty one begins with its end', async () => {
    const store = await openFileContent(root);
    const waiting = store.begun(describe(large), { signal: AbortSignal.abort(new Error('enough')) });
    await expect(waiting).rejects.toThrow('enough');
    const empty = store.begun(describe(Buffer.alloc(0)));
    await store.push(describe(Buffer.alloc(0)), chunks());
    await empty;
  });
});
