/** Archives with bytes changed, cut and repeated: images or a typed error, never anything else. */
import * as fc from 'fast-check';
import { ContainerError, digestOf, type Digest } from '@tare/image-spec';
import { MemoryContent, readBytes } from '@tare/image-spec/content';
import { expect, test } from 'vitest';
import { flattenLayers, readImageArchive, writeImageArchive } from '../../src/archive/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { pushImage, pushLayer } from '../images.ts';

const RUNS = process.env['TARE_TEST_FULL'] ? 20_000 : 300;

class Store extends MemoryContent {
  async create(content: AsyncIterable<Uint8Array>): Promise<{ digest: Digest; size: number }> {
    const bytes = await readBytes(content, 1e8);
    const blob = { digest: await digestOf(bytes), size: bytes.byteLength };
    await this.push({ mediaType: 'a/b', ...blob }, pieces(bytes));
    return blob;
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 1_500) yield bytes.slice(at, at + 1_500);
}

/** What happens to an archive: bytes become others, a part goes, a part comes twice, a text becomes another. */
const harm = fc.oneof(
  fc.record({ kind: fc.constant('byte' as const), at: fc.double({ min: 0, max: 1, noNaN: true }), byte: fc.nat(255) }),
  fc.record({ kind: fc.constant('cut' as const), at: fc.double({ min: 0, max: 1, noNaN: true }), blocks: fc.nat(5) }),
  fc.record({ kind: fc.constant('twice' as const), at: fc.double({ min: 0, max: 1, noNaN: true }), blocks: fc.nat(5) }),
  fc.record({
    kind: fc.constant('text' as const),
    from: fc.constantFrom('"layers"', '"digest"', '"sha256:', '"size":', 'blobs/', '"Layers"', '"Config"', 'manifest', 'index', '"', '[', '{'),
    to: fc.constantFrom('"config"', '"sha512:', '"size":-', '../', '"manifests"', 'null', '[]', '', '"', '{'),
    nth: fc.nat(3),
  }),
); // prettier-ignore
type Harm = typeof harm extends fc.Arbitrary<infer T> ? T : never;

function harmed(bytes: Buffer, harms: readonly Harm[]): Buffer {
  let now = Buffer.from(bytes);
  for (const each of harms) {
    if (each.kind === 'text') {
      let at = -1;
      for (let i = 0; i <= each.nth; i++) at = now.indexOf(each.from, at + 1);
      if (at !== -1) Buffer.from(each.to.padEnd(each.from.length).slice(0, each.from.length)).copy(now, at);
      continue;
    }
    const at = Math.floor(each.at * (now.length - 1));
    if (each.kind === 'byte') now[at] = each.byte;
    else {
      const block = at - (at % 512);
      const end = block + each.blocks * 512;
      const again = each.kind === 'twice' ? now.subarray(block, end) : Buffer.alloc(0);
      now = Buffer.concat([now.subarray(0, each.kind === 'twice' ? end : block), again, now.subarray(end)]);
    }
  }
  return now;
}

/** Rejections of parsers, stores and zlib; anything else is a bug. */
async function typed(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!ContainerError.is(error) && !/^(Z_|ZSTD_)/.test(code)) throw error;
    expect((error as Error).message.length).toBeLessThan(5_000);
  }
}

test('of images', async () => {
  const source = new MemoryContent();
  const layers = [];
  for (const text of ['one', 'two']) layers.push(await pushLayer(source, new TarBuilder().file('f', text)));
  const { manifest } = await pushImage(source, layers);
  const archive = Buffer.concat(
    await Array.fromAsync(writeImageArchive(source, [{ descriptor: manifest, names: ['a:1'] }])),
  );
  expect((await readImageArchive(pieces(archive), new Store())).length).toBe(1);
  await fc.assert(
    fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 4 }), (harms) =>
      typed(() => readImageArchive(pieces(harmed(archive, harms)), new Store())),
    ),
    { numRuns: RUNS },
  );
}, 600_000);

test('of layers that are laid over each other', async () => {
  const base = new TarBuilder()
    .directory('d/')
    .file('d/a', 'a'.repeat(700))
    .hardlink('l', 'd/a')
    .symlink('s', 'd')
    .build();
  const upper = new TarBuilder()
    .file('d/.wh.a')
    .file('s/b', 'b')
    .file('d/.wh..wh..opq')
    .entry('fifo', 'p')
    .build();
  await fc.assert(
    fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 4 }), fc.boolean(), (harms, which) =>
      typed(async () => {
        const archives = [which ? harmed(base, harms) : base, which ? upper : harmed(upper, harms)];
        for await (const _ of flattenLayers(archives.map((bytes) => async () => pieces(bytes))));
      }),
    ),
    { numRuns: RUNS },
  );
}, 600_000);
