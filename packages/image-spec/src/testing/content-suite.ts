/**
 * What every content store must do. Run it over your own:
 *
 * ```ts
 * import { describe, it } from 'vitest'; // or node:test
 * import { contentStoreSuite } from '@tare/image-spec/testing';
 * contentStoreSuite({ describe, it }, 'my store', async () => new MyStore());
 * ```
 */
import type { ContentStore } from '../content/content.ts';
import { readBytes } from '../content/verify.ts';
import type { Descriptor } from '../descriptor.ts';
import { digestOf, parseDigest } from '../digest.ts';
import { ContainerError } from '../errors.ts';

/** The two functions needed of a test framework; vitest, jest, mocha and node:test have them. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/** Makes an empty store. When it is AsyncDisposable it is disposed of after the test. */
export type ContentStoreFactory = () => Promise<ContentStore & Partial<AsyncDisposable>>;

/** Registers the conformance tests of {@link "../content/content".ContentStore} under `name`. */
export function contentStoreSuite(
  { describe, it }: TestFramework,
  name: string,
  create: ContentStoreFactory,
): void {
  function test(sentence: string, body: (store: ContentStore) => Promise<void>): void {
    it(sentence, async () => {
      const store = await create();
      try {
        await body(store);
      } finally {
        await store[Symbol.asyncDispose]?.();
      }
    });
  }

  describe(`${name} as a content store`, () => {
    test('gives back what was pushed, byte for byte', async (store) => {
      for (const size of [0, 1, 65_536, 300_001]) {
        const { descriptor, bytes } = await blob(size);
        await store.push(descriptor, chunked(bytes, 7_000));
        equalBytes(await readBytes(await store.fetch(descriptor), size), bytes);
      }
    });

    test('gives the rest from any byte on', async (store) => {
      const { descriptor, bytes } = await blob(300_001);
      await store.push(descriptor, chunked(bytes));
      for (const offset of [0, 1, 65_536, 300_000, 300_001]) {
        const rest = await readBytes(await store.fetch(descriptor, { offset }), bytes.byteLength);
        equalBytes(rest, bytes.subarray(offset));
      }
      for (const size of [299_999, 300_002]) {
        await rejectsWith('SIZE_MISMATCH', async () =>
          readBytes(await store.fetch({ ...descriptor, size }, { offset: 1 }), bytes.byteLength),
        );
      }
    });

    test('knows what it has and what it has not', async (store) => {
      const { descriptor, bytes } = await blob(100);
      equal(await store.has(descriptor), false);
      equal(await store.info(descriptor.digest), undefined);
      await store.push(descriptor, chunked(bytes));
      equal(await store.has(descriptor), true);
      const info = await store.info(descriptor.digest);
      equal(info?.size, 100);
      equal(info?.digest, descriptor.digest);
      equal(info?.createdAt instanceof Date, true);
    });

    test('lists every blob once', async (store) => {
      const blobs = [await blob(1), await blob(2), await blob(3)];
      for (const { descriptor, bytes } of blobs) await store.push(descriptor, chunked(bytes));
      equal(
        (await listed(store)).join(),
        blobs
          .map(({ descriptor }) => descriptor.digest)
          .sort()
          .join(),
      );
    });

    test('keeps sha512 content beside sha256', async (store) => {
      const { bytes } = await blob(50);
      const descriptor = { mediaType, size: 50, digest: await digestOf(bytes, 'sha512') };
      await store.push(descriptor, chunked(bytes));
      equalBytes(await readBytes(await store.fetch(descriptor), 50), bytes);
      equal((await listed(store)).join(), descriptor.digest);
    });

    test('says NOT_FOUND for what is not there', async (store) => {
      const { descriptor } = await blob(10);
      await rejectsWith('NOT_FOUND', async () => readBytes(await store.fetch(descriptor), 10));
    });

    test('refuses content that is too long, too short or wrong, and shows nothing of it', async (store) => {
      const { descriptor, bytes } = await blob(1_000);
      const wrong = bytes.slice();
      wrong[500]! ^= 1;
      const longer = new Uint8Array(1_001);
      longer.set(bytes);
      await rejectsWith('SIZE_MISMATCH', () => store.push(descriptor, chunked(longer, 100)));
      await rejectsWith('SIZE_MISMATCH', () => store.push(descriptor, chunked(bytes.subarray(0, 999), 100)));
      await rejectsWith('DIGEST_MISMATCH', () => store.push(descriptor, chunked(wrong, 100)));
      equal(await store.has(descriptor), false);
      equal((await listed(store)).length, 0);
      await store.push(descriptor, chunked(bytes, 100));
      equal(await store.has(descriptor), true);
    });

    test('shows nothing of content whose source broke, and takes it the next time', async (store) => {
      const { descriptor, bytes } = await blob(1_000);
      const broken = new Error('the line is cut');
      const failure = await rejection(() =>
        store.push(
          descriptor,
          (async function* () {
            yield bytes.subarray(0, 500);
            throw broken;
          })(),
        ),
      );
      equal(failure, broken);
      equal(await store.has(descriptor), false);
      await store.push(descriptor, chunked(bytes));
      equal(await store.has(descriptor), true);
    });

    test('accepts content twice, and does not need to read it the second time', async (store) => {
      const { descriptor, bytes } = await blob(1_000);
      await store.push(descriptor, chunked(bytes));
      await store.push(descriptor, chunked(bytes));
      equalBytes(await readBytes(await store.fetch(descriptor), 1_000), bytes);
      equal((await listed(store)).length, 1);
    });

    test('accepts the same content from several at once', async (store) => {
      const { descriptor, bytes } = await blob(100_000);
      await Promise.all(Array.from({ length: 5 }, () => store.push(descriptor, chunked(bytes, 10_000))));
      equalBytes(await readBytes(await store.fetch(descriptor), 100_000), bytes);
      equal((await listed(store)).length, 1);
    });

    test('deletes, also what is not there', async (store) => {
      const { descriptor, bytes } = await blob(10);
      await store.push(descriptor, chunked(bytes));
      await store.delete(descriptor.digest);
      await store.delete(descriptor.digest);
      equal(await store.has(descriptor), false);
      equal((await listed(store)).length, 0);
    });

    test('lets a reader finish when the blob is deleted under it', async (store) => {
      const { descriptor, bytes } = await blob(300_000);
      await store.push(descriptor, chunked(bytes));
      const iterator = (await store.fetch(descriptor))[Symbol.asyncIterator]();
      const first = await iterator.next();
      await store.delete(descriptor.digest);
      const chunks = [first.value as Uint8Array];
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
        chunks.push(next.value);
      equalBytes(await readBytes(chunks, 300_000), bytes);
    });

    test('releases a reader that stops early', async (store) => {
      const { descriptor, bytes } = await blob(300_000);
      await store.push(descriptor, chunked(bytes));
      for await (const chunk of await store.fetch(descriptor)) {
        equal(chunk.byteLength > 0, true);
        break;
      }
      await store.delete(descriptor.digest);
    });

    test('refuses to read under a descriptor of another size', async (store) => {
      const { descriptor, bytes } = await blob(100);
      await store.push(descriptor, chunked(bytes));
      for (const size of [99, 101]) {
        await rejectsWith('SIZE_MISMATCH', async () =>
          readBytes(await store.fetch({ ...descriptor, size }), 1_000),
        );
      }
    });

    test('rejects with the reason of an aborted signal, and shows nothing', async (store) => {
      const { descriptor, bytes } = await blob(1_000);
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      equal(await rejection(() => store.push(descriptor, chunked(bytes), { signal })), reason);
      equal(await rejection(() => store.has(descriptor, { signal })), reason);
      equal(await rejection(() => store.fetch(descriptor, { signal })), reason);
      const controller = new AbortController();
      const failure = await rejection(() =>
        store.push(
          descriptor,
          (async function* () {
            yield bytes.subarray(0, 500);
            controller.abort(reason);
            yield bytes.subarray(500);
          })(),
          { signal: controller.signal },
        ),
      );
      equal(failure, reason);
      equal(await store.has(descriptor), false);
    });

    test('never takes a digest for a path', async (store) => {
      for (const text of ['sha256:../../etc/passwd', 'sha256:', `sha256:${'A'.repeat(64)}`, 'md5:0']) {
        equal((await rejection(async () => parseDigest(text))) instanceof Error, true);
      }
      equal((await listed(store)).length, 0);
    });
  });
}

const mediaType = 'application/octet-stream';

/** Bytes that differ for every size and do not repeat within 64 KiB. */
async function blob(size: number): Promise<{ descriptor: Descriptor; bytes: Uint8Array }> {
  const bytes = new Uint8Array(size);
  let state = size * 2_654_435_761 + 1;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return { descriptor: { mediaType, size, digest: await digestOf(bytes) }, bytes };
}

async function* chunked(bytes: Uint8Array, size = 16_384): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < bytes.byteLength; start += size) yield bytes.subarray(start, start + size);
}

async function listed(store: ContentStore): Promise<string[]> {
  const digests: string[] = [];
  for await (const { digest } of store.list()) digests.push(digest);
  return digests.sort();
}

function equal(actual: unknown, expected: unknown): void {
  if (!Object.is(actual, expected)) throw new Error(`expected ${String(expected)}, got ${String(actual)}`);
}

function equalBytes(actual: Uint8Array, expected: Uint8Array): void {
  equal(actual.byteLength, expected.byteLength);
  const different = actual.findIndex((byte, i) => byte !== expected[i]);
  if (different !== -1) throw new Error(`bytes differ from offset ${different} on`);
}

async function rejection(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('expected a rejection, but it succeeded');
}

async function rejectsWith(code: string, work: () => Promise<unknown>): Promise<void> {
  const error = await rejection(work);
  if (!ContainerError.is(error)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  if (error.code !== code) throw new Error(`expected ${code}, got ${error.code}`, { cause: error });
}
