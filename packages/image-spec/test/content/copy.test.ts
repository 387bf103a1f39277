import { describe, expect, test } from 'vitest';
import {
  MemoryContent,
  copyGraph,
  readBytes,
  type ContentSink,
  type CopyEvent,
  type OpenContent,
  type ResumableSink,
} from '../../src/content/index.ts';
import {
  ImageSpecError,
  MEDIA_TYPES,
  parseImageIndex,
  selectManifest,
  type Descriptor,
} from '../../src/index.ts';
import { put, putImage, putIndex } from '../image.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };

async function digests(store: MemoryContent): Promise<string[]> {
  const found: string[] = [];
  for await (const { digest } of store.list()) found.push(digest);
  return found.sort();
}

/** A sink that records the order of what becomes visible, and can fail. */
class Recorder implements ContentSink {
  readonly store = new MemoryContent();
  readonly order: string[] = [];
  failOn?: string;
  running = 0;
  mostAtOnce = 0;

  has(descriptor: Descriptor) {
    return this.store.has(descriptor);
  }

  async push(descriptor: Descriptor, content: AsyncIterable<Uint8Array>) {
    this.running += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.running);
    try {
      await new Promise(setImmediate);
      if (descriptor.digest === this.failOn) throw new Error('disk full');
      await this.store.push(descriptor, content);
      this.order.push(descriptor.digest);
    } finally {
      this.running -= 1;
    }
  }
}

describe('copyGraph', () => {
  test('copies an index with everything it refers to', async () => {
    const source = new MemoryContent();
    const root = await putIndex(source, [amd64, arm64]);
    const sink = new MemoryContent();
    await copyGraph(source, sink, root);
    expect(await digests(sink)).toEqual(await digests(source));
  });

  test('shows a manifest only after all its content', async () => {
    const source = new MemoryContent();
    const root = await putIndex(source, [amd64, arm64]);
    const sink = new Recorder();
    await copyGraph(source, sink, root);
    expect(sink.order.at(-1)).toBe(root.digest);
    expect(new Set(sink.order).size).toBe(sink.order.length);
    expect(sink.order.length).toBe((await digests(source)).length);
  });

  test('moves nothing twice, and says what was there', async () => {
    const source = new MemoryContent();
    const root = await putImage(source, 'a');
    const sink = new MemoryContent();
    await copyGraph(source, sink, root);
    const events: CopyEvent[] = [];
    await copyGraph(source, sink, root, { onEvent: (event) => events.push(event) });
    expect(new Set(events.map(({ kind }) => kind))).toEqual(new Set(['exists']));
    expect(events.length).toBe(4);
  });

  test('makes whole what was copied in part', async () => {
    const source = new MemoryContent();
    const root = await putImage(source, 'a');
    const sink = new MemoryContent();
    await copyGraph(source, sink, root);
    const [layer] = await digests(sink).then((all) => all.filter((digest) => digest !== root.digest));
    await sink.delete(layer as Descriptor['digest']);
    await copyGraph(source, sink, root);
    expect(await digests(sink)).toEqual(await digests(source));
  });

  test('asks a source only for what a sink lacks that keeps parts', async () => {
    const source = new MemoryContent();
    const root = await putIndex(source, [amd64]);
    const opened: number[] = [];
    const sink = new MemoryContent();
    const resumable = {
      has: sink.has.bind(sink),
      push: sink.push.bind(sink),
      async pushFrom(descriptor: Descriptor, open: OpenContent) {
        const kept = (await readBytes(await source.fetch(descriptor), descriptor.size)).subarray(0, 2);
        opened.push(kept.length);
        const rest = await readBytes(await open(kept.length), descriptor.size);
        await sink.push(descriptor, (async function* () { yield kept; yield rest; })()); // prettier-ignore
      },
    };
    await copyGraph(source, resumable, root);
    expect(await digests(sink)).toEqual(await digests(source));
    expect(opened.length).toBeGreaterThan(1);
  });

  test('starts over when the part that was kept was wrong, and only then', async () => {
    const source = new MemoryContent();
    const root = await put(source, 'application/octet-stream', 'what was kept is wrong');
    const offsets: number[] = [];
    const wrong = new ImageSpecError('DIGEST_MISMATCH', 'something else');
    const sink = (kept: number[]): ResumableSink => ({
      has: async () => false,
      push: async () => {},
      pushFrom: async (_, open) => {
        const offset = kept.shift() ?? 0;
        offsets.push(offset);
        await open(offset);
        if (kept.length > 0) throw wrong;
      },
    });
    await copyGraph(source, sink([5, 0]), root);
    expect(offsets.splice(0)).toEqual([5, 0]);
    await expect(copyGraph(source, sink([0, 0]), root)).rejects.toBe(wrong);
    expect(offsets.splice(0)).toEqual([0]);
    await expect(copyGraph(source, sink([1, 1, 1, 1, 1, 1, 1, 1]), root)).rejects.toBe(wrong);
    expect(offsets.length).toBe(5);
  });

  test('follows only the platform that was selected', async () => {
    const source = new MemoryContent();
    const root = await putIndex(source, [amd64, arm64]);
    const sink = new MemoryContent();
    await copyGraph(source, sink, root, { select: (index) => [selectManifest(index, arm64)] });
    const index = parseImageIndex(await bytesOf(source, root), root);
    expect(await sink.has(root)).toBe(true);
    expect(await sink.has(selectManifest(index, arm64))).toBe(true);
    expect(await sink.has(selectManifest(index, amd64))).toBe(false);
  });

  test('rejects with the first failure, leaves no parent visible and nothing under way', async () => {
    const source = new MemoryContent();
    const root = await putIndex(source, [amd64, arm64]);
    const sink = new Recorder();
    const index = parseImageIndex(await bytesOf(source, root), root);
    sink.failOn = index.manifests[0]!.digest;
    await expect(copyGraph(source, sink, root)).rejects.toThrow('disk full');
    expect(sink.running).toBe(0);
    expect(await sink.has(root)).toBe(false);
  });

  test('copies at most as many blobs at once as it may', async () => {
    const source = new MemoryContent();
    const layers: Descriptor[] = [];
    for (let i = 0; i < 10; i++) layers.push(await put(source, MEDIA_TYPES.ociLayer, `layer ${i}`));
    const config = await put(source, MEDIA_TYPES.ociConfig, {});
    const root = await put(source, MEDIA_TYPES.ociManifest, { schemaVersion: 2, config, layers });
    const sink = new Recorder();
    await copyGraph(source, sink, root, { concurrency: 2 });
    expect(sink.mostAtOnce).toBe(2);
    expect(sink.order.length).toBe(12);
  });

  test('rejects with the reason of an aborted signal', async () => {
    const source = new MemoryContent();
    const root = await putImage(source, 'a');
    const reason = new Error('changed my mind');
    const controller = new AbortController();
    const copying = copyGraph(source, new MemoryContent(), root, {
      signal: controller.signal,
      onEvent: () => controller.abort(reason),
    });
    await expect(copying).rejects.toBe(reason);
  });

  test('leaves foreign layers out', async () => {
    const source = new MemoryContent();
    const config = await put(source, MEDIA_TYPES.ociConfig, {});
    const foreign = {
      ...config,
      mediaType: MEDIA_TYPES.dockerForeignLayer,
      digest: `sha256:${'0'.repeat(64)}`,
    };
    const root = await put(source, MEDIA_TYPES.ociManifest, { schemaVersion: 2, config, layers: [foreign] });
    const events: CopyEvent[] = [];
    await copyGraph(source, new MemoryContent(), root, { onEvent: (event) => events.push(event) });
    expect(events.filter(({ kind }) => kind === 'foreign').length).toBe(1);
  });

  test('stops at a graph that is too deep', async () => {
    const source = new MemoryContent();
    let root = await putImage(source, 'a');
    for (let i = 0; i < 20; i++) {
      root = await put(source, MEDIA_TYPES.ociIndex, { schemaVersion: 2, manifests: [root] });
    }
    await expect(copyGraph(source, new MemoryContent(), root)).rejects.toMatchObject({
      code: 'INVALID_DOCUMENT',
    });
  });
});

async function bytesOf(store: MemoryContent, descriptor: Descriptor): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of await store.fetch(descriptor)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
