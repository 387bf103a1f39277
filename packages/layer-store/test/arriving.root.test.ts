/** Unpacking blobs while they are written: what overlaps, and that nothing of a blob that fails is ever visible. Needs root. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { chainIds, type Descriptor, type Digest } from '@tare/image-spec';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  openFileContent,
  openLayerStore,
  type FileContent,
  type LayerStore,
  type LayerToUnpack,
} from '../src/index.ts';
import { describeBlob, sha256, TarBuilder } from '../src/testing/index.ts';
import { isRoot } from './apply/unpack.ts';
import { pushLayer } from './images.ts';
import { runMounted } from './mounted.ts';

if (!isRoot) process.stderr.write('unpacking of arriving blobs is not tested: needs root to make layers\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-arriving-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

type Store = LayerStore & { content: FileContent };
const open = async (count?: number): Promise<Store> =>
  (await openLayerStore({
    root,
    fs: layerFs,
    workers: { program: new URL('./unpack.worker.ts', import.meta.url), ...(count && { count }) },
  })) as Store;
const inSnapshots = (name: string): string[] => readdirSync(join(root, 'snapshots', name));
const nothingVisible = (): void =>
  expect([...inSnapshots('s'), ...inSnapshots('m'), ...inSnapshots('t')]).toEqual([]);

interface Layer extends LayerToUnpack {
  bytes: Buffer;
}

/** Files of random bytes, 4 MB in all: enough that the first arrive long before the last. */
const archive = (seed = ''): Buffer =>
  Array.from({ length: 8 }, (_, i) => `file-${seed}${i}`)
    .reduce((tar, name) => tar.file(name, randomBytes(500_000)), new TarBuilder())
    .build();

function layerOf(tar: Buffer, compress: (bytes: Buffer) => Buffer = (bytes) => bytes): Layer {
  const bytes = compress(tar);
  return { bytes, descriptor: describeBlob(bytes, 'application/octet-stream'), diffId: sha256(tar) };
}

/** Content whose second half waits for `release`, or for `fail`. */
function halting(bytes: Buffer) {
  const gate = Promise.withResolvers<void>();
  gate.promise.catch(() => undefined);
  const offsets: number[] = [];
  return {
    offsets,
    release: gate.resolve,
    fail: gate.reject,
    open: async (offset: number) => {
      offsets.push(offset);
      return (async function* () {
        const half = bytes.length / 2;
        for (let at = offset; at < bytes.length; at += 50_000) {
          if (at >= half) await gate.promise;
          yield Buffer.from(bytes.subarray(at, at + 50_000));
        }
      })();
    },
  };
}

const whole = (bytes: Buffer) => {
  const source = halting(bytes);
  source.release();
  return source;
};

/** A promise of the first progress, and what makes it. */
function firstProgress() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { read: promise, onProgress: () => resolve() };
}

describe.skipIf(!isRoot)('a layer whose blob is still arriving', () => {
  test.each([
    ['plain', undefined],
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('is unpacked meanwhile (%s), and is there when all of it is', async (_, compress) => {
    await using store = await open();
    const layer = layerOf(archive(), compress as (bytes: Buffer) => Buffer);
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const arrival = store.content.pushFrom(layer.descriptor, source.open);
    const unpacking = store.unpack([layer], { arrival, onProgress });
    // the rest comes only when the beginning was unpacked
    await read;
    expect(await store.snapshots.stat(layer.diffId)).toBeUndefined();
    expect(inSnapshots('t')).toHaveLength(1);
    source.release();
    const top = await unpacking;
    expect(await store.content.has(layer.descriptor)).toBe(true);
    const mounts = await store.snapshots.view('v', top);
    expect(await runMounted(mounts, 'cat * | wc -c; ls | wc -l')).toBe('4000000\n8\n');
  });

  test('need not have begun when the call is made, nor may the call be in time', async () => {
    await using store = await open();
    const [one, two, three] = [layerOf(archive('a')), layerOf(archive('b')), layerOf(archive('c'))];
    await store.content.pushFrom(one.descriptor, whole(one.bytes).open);
    const begin = Promise.withResolvers<void>();
    const arrival = begin.promise.then(async () => {
      await store.content.pushFrom(three.descriptor, whole(three.bytes).open);
      await store.content.pushFrom(two.descriptor, whole(two.bytes).open);
    });
    const unpacking = store.unpack([one, two, three], { arrival });
    begin.resolve();
    const top = await unpacking;
    expect(await runMounted(await store.snapshots.view('v', top), 'ls | wc -l')).toBe('24\n');
  });

  test('is not there when a byte is wrong', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const wrong = Buffer.from(layer.bytes);
    wrong[3_900_000]! ^= 1;
    const arrival = store.content.pushFrom(layer.descriptor, whole(wrong).open);
    await expect(store.unpack([layer], { arrival })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      message: expect.stringContaining(`content of ${layer.descriptor.digest}`) as string,
    });
    nothingVisible();
    expect(await store.content.has(layer.descriptor)).toBe(false);
    expect(readdirSync(join(root, 'content', 'ingest'))).toEqual([]);
  });

  test('is not there when the blob is none of the layer: the diffID counts as well', async () => {
    await using store = await open();
    const layer = { ...layerOf(archive()), diffId: sha256(Buffer.from('?')) };
    const arrival = store.content.pushFrom(layer.descriptor, whole(layer.bytes).open);
    await expect(store.unpack([layer], { arrival })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      message: expect.stringContaining('diffID') as string,
    });
    nothingVisible();
    expect(await store.content.has(layer.descriptor)).toBe(true);
  });

  test('wrong bytes are told of as such, although what they unpack to was refused before they ended', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const wrong = Buffer.from(layer.bytes);
    // the second header
    wrong.fill(0xff, 500_000, 504_000);
    const source = halting(wrong);
    const arrival = store.content.pushFrom(layer.descriptor, source.open);
    const outcome = expect(store.unpack([layer], { arrival })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      message: expect.stringContaining(`content of ${layer.descriptor.digest}`) as string,
    });
    source.release();
    await outcome;
    nothingVisible();
  });

  test('is not there when the body is short', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const arrival = store.content.pushFrom(layer.descriptor, whole(layer.bytes.subarray(0, 3_000_000)).open);
    await expect(store.unpack([layer], { arrival })).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    nothingVisible();
  });

  test('is given up at once when the caller aborts, while the download goes on', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const controller = new AbortController();
    const reason = new Error('user pressed ^C');
    const arrival = store.content.pushFrom(layer.descriptor, source.open);
    const unpacking = store.unpack([layer], { arrival, onProgress, signal: controller.signal });
    await read;
    controller.abort(reason);
    await expect(unpacking).rejects.toBe(reason);
    nothingVisible();
    source.release();
    await arrival;
    await store.unpack([layer]);
  });

  test('is unpacked anew when the next attempt to download goes on with what there is', async () => {
    await using store = await open();
    const layer = layerOf(archive(), gzipSync);
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const again = whole(layer.bytes);
    const arrival = store.content
      .pushFrom(layer.descriptor, source.open)
      .catch(() => store.content.pushFrom(layer.descriptor, again.open));
    const unpacking = store.unpack([layer], { arrival, onProgress });
    await read;
    source.fail(new Error('the line broke'));
    const top = await unpacking;
    expect(again.offsets).toEqual([expect.any(Number)]);
    expect(again.offsets[0]).toBeGreaterThan(0);
    expect(inSnapshots('t')).toEqual([]);
    expect(await runMounted(await store.snapshots.view('v', top), 'cat * | wc -c')).toBe('4000000\n');
  });

  test('is unpacked anew when the bytes were wrong and come from elsewhere', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const wrong = Buffer.from(layer.bytes);
    wrong[3_900_000]! ^= 1;
    const again = whole(layer.bytes);
    const arrival = store.content
      .pushFrom(layer.descriptor, whole(wrong).open)
      .catch(() => store.content.pushFrom(layer.descriptor, again.open));
    await store.unpack([layer], { arrival });
    expect(again.offsets).toEqual([0]);
  });

  test('without a promise of more, a broken download is the error', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const reason = new Error('the line broke');
    const pushing = store.content.pushFrom(layer.descriptor, source.open);
    pushing.catch(() => undefined);
    await store.content.begun(layer.descriptor);
    const unpacking = store.unpack([layer], { onProgress });
    await read;
    source.fail(reason);
    await expect(unpacking).rejects.toBe(reason);
    nothingVisible();
  });

  test('two pulls of it download and unpack it once', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const pull = async () => {
      const arrival = store.content.pushFrom(layer.descriptor, source.open);
      return store.unpack([layer], { arrival, onProgress });
    };
    const pulls = [pull(), pull()];
    await read;
    expect(inSnapshots('t')).toHaveLength(1);
    source.release();
    expect(new Set(await Promise.all(pulls)).size).toBe(1);
    expect(source.offsets).toEqual([0]);
    expect(inSnapshots('s')).toHaveLength(1);
  });

  test('when the pull that downloads it is cancelled, the other one goes on', async () => {
    await using store = await open();
    const layer = layerOf(archive());
    const [mine, theirs] = [halting(layer.bytes), whole(layer.bytes)];
    const { read, onProgress } = firstProgress();
    const cancel = new AbortController();
    const pull = async (source: ReturnType<typeof halting>, signal?: AbortSignal) => {
      const options = signal === undefined ? {} : { signal };
      const arrival = store.content.pushFrom(layer.descriptor, source.open, options);
      return store.unpack([layer], { arrival, onProgress, ...options });
    };
    const first = pull(mine, cancel.signal);
    await read;
    const second = pull(theirs);
    const outcome = expect(first).rejects.toThrow('changed my mind');
    cancel.abort(new Error('changed my mind'));
    await outcome;
    expect((await store.snapshots.stat(await second))?.kind).toBe('committed');
    expect(theirs.offsets[0]).toBeGreaterThan(0);
  });

  /** A store whose first look for a blob finds none, and one that says at once that there is something of it. */
  async function lookingTooEarly(): Promise<{
    store: LayerStore;
    content: FileContent;
    looks: () => number;
  }> {
    const content = await openFileContent(join(root, 'content'));
    let looks = 0;
    const early = {
      path: (digest: Digest) => (looks++ > 0 ? content.path(digest) : join(root, 'nothing')),
      begun: async (descriptor: Descriptor) => (looks > 0 ? content.begun(descriptor) : undefined),
    };
    const late = new Proxy(content, {
      get(target, name) {
        const value: unknown = Reflect.get(name in early ? early : target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const workers = { program: new URL('./unpack.worker.ts', import.meta.url) };
    const store = await openLayerStore({ root, fs: layerFs, content: late, workers });
    return { store, content, looks: () => looks };
  }

  test('one that comes right after it was looked for is found', async () => {
    const { store, content, looks } = await lookingTooEarly();
    await using _store = store;
    const layer = layerOf(archive());
    await content.push(layer.descriptor, await whole(layer.bytes).open(0));
    expect((await store.snapshots.stat(await store.unpack([layer])))?.kind).toBe('committed');
    expect(looks()).toBe(2);
  });

  test('one that is given up is waited for while somebody else may bring it', async () => {
    const { store, content, looks } = await lookingTooEarly();
    await using _store = store;
    const layer = layerOf(archive());
    const arrival = Promise.withResolvers<void>();
    const unpacking = store.unpack([layer], { arrival: arrival.promise });
    await expect.poll(looks).toBe(1);
    await content.push(layer.descriptor, await whole(layer.bytes).open(0));
    expect((await store.snapshots.stat(await unpacking))?.kind).toBe('committed');
    const other = layerOf(archive());
    const nobody = store.unpack([other], { arrival: arrival.promise });
    arrival.resolve();
    await expect(nobody).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('slow ones leave a thread for what is there', async () => {
    await using store = await open(2);
    const slow = [layerOf(archive('a')), layerOf(archive('b')), layerOf(archive('c'))];
    const sources = slow.map(({ bytes }) => halting(bytes));
    const cancel = new AbortController();
    const unpackings = slow.map((layer, i) => {
      const arrival = store.content.pushFrom(layer.descriptor, sources[i]!.open);
      return store.unpack([layer], { arrival, ...(i === 2 && { signal: cancel.signal }) });
    });
    for (const { descriptor } of slow) await store.content.begun(descriptor);
    await store.unpack([await pushLayer(store.content, new TarBuilder().file('there'))]);
    // one that waits for a thread can be given up too
    const outcome = expect(unpackings[2]).rejects.toThrow('enough');
    cancel.abort(new Error('enough'));
    await outcome;
    for (const { release } of sources) release();
    await Promise.all(unpackings.slice(0, 2));
  });

  test('a layer on one that fails is not there either', async () => {
    await using store = await open();
    const [below, above] = [layerOf(archive('a')), layerOf(archive('b'))];
    const source = halting(below.bytes);
    const arrival = Promise.all([
      store.content.pushFrom(below.descriptor, source.open),
      store.content.pushFrom(above.descriptor, whole(above.bytes).open),
    ]);
    const unpacking = store.unpack([below, above], { arrival });
    await store.content.begun(above.descriptor);
    source.fail(new Error('the line broke'));
    await expect(unpacking).rejects.toThrow('the line broke');
    nothingVisible();
  });

  test('disposing of the store ends it', async () => {
    const store = await open();
    const layer = layerOf(archive());
    const source = halting(layer.bytes);
    const { read, onProgress } = firstProgress();
    const arrival = store.content.pushFrom(layer.descriptor, source.open);
    const outcome = expect(store.unpack([layer], { arrival, onProgress })).rejects.toMatchObject({
      code: 'CLOSED',
    });
    await read;
    await store[Symbol.asyncDispose]();
    await outcome;
    expect(inSnapshots('t')).toEqual([]);
    source.release();
    await arrival;
  });

  test('kill -9 in the middle leaves nothing visible; the next process goes on with the download', async () => {
    const layer = layerOf(archive());
    const program = `
      import { openLayerStore } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      import { layerFs } from '@tare/runtime-native/syscalls';
      const { layer, root, program } = JSON.parse(process.env.TEST_CASE);
      const chunks = [];
      for await (const chunk of process.stdin) chunks.push(chunk);
      const half = Buffer.concat(chunks);
      const store = await openLayerStore({ root, fs: layerFs, workers: { program: new URL(program) } });
      const arrival = store.content.pushFrom(layer.descriptor, async () => (async function* () {
        yield half;
        await new Promise(() => {});
      })());
      await store.unpack([layer], { arrival, onProgress: () => process.kill(process.pid, 'SIGKILL') });`;
    const testCase = {
      layer: { descriptor: layer.descriptor, diffId: layer.diffId },
      root,
      program: new URL('./unpack.worker.ts', import.meta.url).href,
    };
    const child = spawn(
      process.execPath,
      ['--conditions=@tare/source', '--input-type=module', '-e', program],
      {
        stdio: ['pipe', 'inherit', 'inherit'],
        cwd: join(import.meta.dirname, '..'),
        env: { ...process.env, TEST_CASE: JSON.stringify(testCase) },
      },
    );
    child.stdin.end(layer.bytes.subarray(0, 3_000_000));
    expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
    expect([...inSnapshots('s'), ...inSnapshots('m')]).toEqual([]);
    await using store = await open();
    expect(inSnapshots('t')).toEqual([]);
    const rest = whole(layer.bytes);
    const arrival = store.content.pushFrom(layer.descriptor, rest.open);
    const top: Digest = await store.unpack([layer], { arrival });
    expect(rest.offsets).toEqual([3_000_000]);
    expect(top).toBe((await chainIds([layer.diffId]))[0]);
    expect(await store.snapshots.usage(top)).toEqual({ sizeBytes: 4_000_000, inodes: 9 });
  });
});

describe.skipIf(!isRoot)('without threads', () => {
  test('layers are unpacked when their blobs are there', async () => {
    await using store = await openLayerStore({ root, fs: layerFs });
    const layer = layerOf(archive());
    const source = halting(layer.bytes);
    const arrival = store.content.push(layer.descriptor, await source.open(0));
    const [unpacking, other] = [store.unpack([layer], { arrival }), store.unpack([layer])];
    source.release();
    expect(await unpacking).toBe(await other);
  });
});

test('a descriptor of a blob that never comes is waited for until the promise of it is settled', async () => {
  const descriptor: Descriptor = describeBlob(Buffer.from('never'), 'application/octet-stream');
  await using store = await open();
  const layer = { descriptor, diffId: sha256(Buffer.from('never')) };
  const failed = Promise.reject(new Error('no such registry'));
  await expect(store.unpack([layer], { arrival: failed })).rejects.toThrow('no such registry');
  await expect(store.unpack([layer], { arrival: Promise.resolve() })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});
