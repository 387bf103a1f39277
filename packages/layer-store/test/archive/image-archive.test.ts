import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { MEDIA_TYPES, parseImageManifest, parseLayoutIndex, type Descriptor } from '@tare/image-spec';
import { MemoryContent, copyGraph, readBytes } from '@tare/image-spec/content';
import { contentStoreSuite } from '@tare/image-spec/testing';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { openFileContent, type FileContent } from '../../src/index.ts';
import {
  openImageLayout,
  readImageArchive,
  tarMembers,
  writeImageArchive,
  type NamedImage,
} from '../../src/archive/index.ts';
import { TarBuilder, sha256 } from '../../src/testing/index.ts';
import { pushBlob, pushImage, pushLayer } from '../images.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-archive-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const open = (name = 'store'): Promise<FileContent> => openFileContent(join(root, name));
const layerOf = (text: string): TarBuilder => new TarBuilder().file('file', text);
const collect = async (content: AsyncIterable<Uint8Array>): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(content));
async function* pieces(bytes: Uint8Array, size = 7_000): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

async function imageOf(store: MemoryContent, ...texts: string[]): Promise<Descriptor> {
  const layers = [];
  for (const text of texts) layers.push(await pushLayer(store, layerOf(text)));
  return (await pushImage(store, layers)).manifest;
}

async function indexOf(store: MemoryContent): Promise<Descriptor> {
  const manifests = [];
  for (const architecture of ['arm64', 'amd64']) {
    const platform = { architecture, os: 'linux' };
    manifests.push({ ...(await imageOf(store, architecture, 'shared')), platform });
  }
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests };
  return pushBlob(store, Buffer.from(JSON.stringify(index)), MEDIA_TYPES.ociIndex);
}

async function namesIn(archive: Buffer): Promise<string[]> {
  return (await Array.fromAsync(tarMembers(pieces(archive)))).map(({ entry }) => entry.name);
}

/** Everything below `root` of `from` is in `to`, byte for byte. */
async function expectWhole(to: FileContent, from: MemoryContent, descriptor: Descriptor): Promise<void> {
  await copyGraph(from, to, descriptor, {
    onEvent: ({ kind, descriptor: { digest } }) =>
      expect({ digest, kind }).toEqual({ digest, kind: 'exists' }),
  });
}

describe('an archive that was written', () => {
  test.each([
    ['as it is', (bytes: Buffer) => bytes],
    ['compressed', gzipSync],
  ])('comes back with all documents byte for byte and all names: %s', async (_, compress) => {
    const source = new MemoryContent();
    const images: NamedImage[] = [
      { descriptor: await imageOf(source, 'one', 'two'), names: ['busybox:1', 'localhost:5000/a/b:v1'] },
      { descriptor: await indexOf(source), names: ['multi'] },
      { descriptor: await imageOf(source, 'two'), names: [] },
    ];
    const archive = await collect(writeImageArchive(source, images));
    expect(await collect(writeImageArchive(source, images))).toEqual(archive);
    const names = await namesIn(archive);
    expect(new Set(names).size).toBe(names.length);
    const store = await open();
    const held: string[] = [];
    const found = await readImageArchive(pieces(compress(archive)), store, {
      onBlob: (digest) => held.push(digest),
    });
    expect(found.map(({ descriptor: { digest }, names: own }) => [digest, own])).toEqual([
      [images[0]!.descriptor.digest, ['docker.io/library/busybox:1', 'localhost:5000/a/b:v1']],
      [images[1]!.descriptor.digest, ['docker.io/library/multi:latest']],
      [images[2]!.descriptor.digest, []],
    ]);
    for (const { descriptor } of images) await expectWhole(store, source, descriptor);
    const stored = (await Array.fromAsync(store.list())).map(({ digest }) => digest);
    expect(stored.filter((digest) => !held.includes(digest))).toEqual([]);
  });

  test('lists its images for docker load, an index by the image of the platform', async () => {
    const source = new MemoryContent();
    const index = await indexOf(source);
    const platform = { architecture: 'amd64', os: 'linux' };
    const archive = await collect(
      writeImageArchive(source, [{ descriptor: index, names: ['multi:v1'] }], { platform }),
    );
    await writeFile(join(root, 'a.tar'), archive);
    execFileSync('tar', ['-xf', 'a.tar'], { cwd: root });
    const list = JSON.parse(await readFile(join(root, 'manifest.json'), 'utf8'));
    expect(list.map(({ RepoTags }: { RepoTags: unknown }) => RepoTags)).toEqual([null, ['multi:v1']]);
    for (const { Config, Layers } of list) {
      for (const path of [Config, ...Layers]) expect((await stat(join(root, path))).isFile()).toBe(true);
    }
    const { manifests } = parseLayoutIndex(await readFile(join(root, 'index.json')));
    expect(manifests[0]).toMatchObject({
      digest: index.digest,
      annotations: {
        'io.containerd.image.name': 'docker.io/library/multi:v1',
        'org.opencontainers.image.ref.name': 'v1',
      },
    });
  });

  test('gives tags as names, and none for a digest', async () => {
    const source = new MemoryContent();
    const descriptor = await imageOf(source, 'one');
    const names = [`a/b@${descriptor.digest}`, `a/b:v1@${descriptor.digest}`];
    const archive = await collect(writeImageArchive(source, [{ descriptor, names }]));
    const [image] = await readImageArchive(pieces(archive), await open());
    expect(image!.names).toEqual(['docker.io/a/b:v1']);
  });

  test('has of an index what was selected, and is read without the rest', async () => {
    const source = new MemoryContent();
    const descriptor = await indexOf(source);
    const select = ({ manifests }: { manifests: readonly Descriptor[] }) => manifests.slice(1);
    const archive = await collect(writeImageArchive(source, [{ descriptor, names: [] }], { select }));
    const store = await open();
    const [image, ...others] = await readImageArchive(pieces(archive), store);
    expect(others).toEqual([]);
    expect(image!.descriptor.digest).toBe(descriptor.digest);
    await copyGraph(source, store, descriptor, {
      select,
      onEvent: ({ kind }) => expect(kind).toBe('exists'),
    });
  });
});

describe('an archive of old docker save', () => {
  const layers = [layerOf('one').build(), gzipSync(layerOf('two').build())];
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [sha256(layers[0]!), sha256(layerOf('two').build())] },
    }),
  );
  const list = (more: object = {}): string =>
    JSON.stringify([
      { Config: 'c.json', RepoTags: ['a:1', 'b:2'], Layers: ['x/layer.tar', 'y/layer.tar'], ...more },
    ]);
  const archive = (manifest = list()): TarBuilder =>
    new TarBuilder()
      .directory('x/')
      .file('x/VERSION', '1.0')
      .file('x/json', '{}')
      .file('x/layer.tar', layers[0]!)
      .file('z/layer.tar', layers[1]!)
      .symlink('y/layer.tar', '../z/layer.tar')
      .file('./c.json', config)
      .file('repositories', '{}')
      .file('manifest.json', manifest);

  test('gets a manifest of its layers as they are', async () => {
    const store = await open();
    const [image, ...others] = await readImageArchive(pieces(archive().build()), store);
    expect(others).toEqual([]);
    expect(image!.names).toEqual(['a:1', 'b:2']);
    const bytes = await readBytes(await store.fetch(image!.descriptor), 10_000);
    const manifest = parseImageManifest(bytes, image!.descriptor);
    expect(manifest.layers.map(({ digest, mediaType }) => [digest, mediaType])).toEqual([
      [sha256(layers[0]!), MEDIA_TYPES.ociLayer],
      [sha256(layers[1]!), MEDIA_TYPES.ociLayerGzip],
    ]);
    expect(manifest.config.digest).toBe(sha256(config));
    await copyGraph(store, new MemoryContent(), image!.descriptor);
  });

  test.each([
    ['a file outside of it', list({ Config: '../../etc/passwd' })],
    ['an absolute file', list({ Layers: ['/etc/passwd', 'y/layer.tar'] })],
    ['what it does not hold', list({ Layers: ['x/layer.tar', 'missing'] })],
    ['too few layers', list({ Layers: ['x/layer.tar'] })],
    ['no list', '{"Config":1}'],
    ['no JSON', '['],
    ['nothing', '[]'],
  ])('that lists %s is refused', async (_, manifest) => {
    await expect(readImageArchive(pieces(archive(manifest).build()), await open())).rejects.toMatchObject({
      code: 'INVALID_ARCHIVE',
    });
  });

  test('whose links lead out of it or in circles holds nothing there', async () => {
    for (const target of ['../../../etc/passwd', '/etc/passwd', '../y/layer.tar', '../w']) {
      const tar = new TarBuilder()
        .file('c.json', config)
        .file('x/layer.tar', layers[0]!)
        .symlink('y/layer.tar', target)
        .symlink('w', 'y/layer.tar')
        .file('manifest.json', list());
      await expect(readImageArchive(pieces(tar.build()), await open())).rejects.toMatchObject({
        code: 'INVALID_ARCHIVE',
      });
    }
  });
});

describe('a hostile archive', () => {
  test('cannot put content under a digest that is not its own', async () => {
    const digest = sha256(Buffer.from('good'));
    const tar = new TarBuilder()
      .file(`blobs/${digest.replace(':', '/')}`, 'evil')
      .file('manifest.json', '[]');
    const store = await open();
    await expect(readImageArchive(pieces(tar.build()), store)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(await Array.fromAsync(store.list())).toEqual([]);
  });

  test('never makes a path of a name', async () => {
    const tar = new TarBuilder()
      .file('../../../../tmp/tare-evil', 'x')
      .file('blobs/sha256/../../../evil', 'x')
      .file('/evil', 'x')
      .file('manifest.json', '[]');
    await expect(readImageArchive(pieces(tar.build()), await open())).rejects.toMatchObject({
      code: 'INVALID_ARCHIVE',
    });
    expect(await readdir(root)).toEqual(['store']);
    expect((await readdir(join(root, 'store'))).sort()).toEqual(['blobs', 'ingest']);
  });

  test('whose list is larger than any memory is left early', async () => {
    const tar = new TarBuilder().file('manifest.json', Buffer.alloc(5 * 1024 * 1024));
    await expect(readImageArchive(pieces(tar.build()), await open())).rejects.toMatchObject({
      code: 'TOO_LARGE',
    });
  });

  test('that is cut short is no archive', async () => {
    const source = new MemoryContent();
    const image = await imageOf(source, 'x'.repeat(50_000));
    const archive = await collect(writeImageArchive(source, [{ descriptor: image, names: [] }]));
    for (const length of [0, 100, 600, archive.length - 3_000]) {
      const cut = readImageArchive(pieces(archive.subarray(0, length)), await open());
      await expect(cut).rejects.toMatchObject({ code: expect.stringMatching(/^INVALID_|^SIZE_MISMATCH/) });
    }
  });
});

contentStoreSuite({ describe, it }, 'an image layout', () =>
  openImageLayout(join(root, 'layout'), { create: true }),
);

describe('an image layout', () => {
  test('is made only when asked for, and holds nothing else when it is closed', async () => {
    await expect(openImageLayout(root)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const source = new MemoryContent();
    const image = await imageOf(source, 'one');
    {
      await using layout = await openImageLayout(root, { create: true });
      await copyGraph(source, layout, image);
      await layout.tag(image, 'v1');
      await layout.tag(image, 'v2');
    }
    expect((await readdir(root)).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect(await readdir(join(root, 'blobs'))).toEqual(['sha256']);
    expect(JSON.parse(await readFile(join(root, 'oci-layout'), 'utf8'))).toEqual({
      imageLayoutVersion: '1.0.0',
    });
    await using again = await openImageLayout(root);
    expect(await again.images()).toMatchObject([{ names: ['v1', 'v2'] }]);
    expect((await again.resolve('v2')).digest).toBe(image.digest);
    expect((await again.resolve()).digest).toBe(image.digest);
    await copyGraph(again, new MemoryContent(), await again.resolve('v1'));
  });

  test('finds names, digests, and says what there is', async () => {
    const source = new MemoryContent();
    const index = await indexOf(source);
    const other = await imageOf(source, 'other');
    await using layout = await openImageLayout(root, { create: true });
    for (const each of [index, other]) await copyGraph(source, layout, each);
    await expect(layout.tag({ ...other, digest: sha256(Buffer.from('no')) }, 'x')).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await layout.add(index);
    await layout.add(index);
    await layout.tag(other, 'v1');
    await layout.tag(index, 'v1');
    expect(await layout.images()).toMatchObject([{ descriptor: { digest: index.digest }, names: ['v1'] }]);
    // not listed any more, but there
    expect(await layout.resolve(other.digest)).toEqual(other);
    await expect(layout.resolve('v2')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('v1'),
    });
    await layout.untag('v1');
    expect(await layout.images()).toEqual([]);
  });

  test('keeps every name that is given at once, and keys of the index that it does not know', async () => {
    const source = new MemoryContent();
    const image = await imageOf(source, 'one');
    await using layout = await openImageLayout(root, { create: true });
    await copyGraph(source, layout, image);
    const path = join(root, 'index.json');
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), own: 1 }));
    await Promise.all(Array.from({ length: 10 }, (_, i) => layout.tag(image, `v${i}`)));
    expect((await layout.images())[0]!.names.length).toBe(10);
    expect(JSON.parse(await readFile(path, 'utf8')).own).toBe(1);
  });

  test('of another version is refused', async () => {
    await writeFile(join(root, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}');
    await expect(openImageLayout(root)).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
  });
});

test('members give their content with holes as zeros, and can be passed over', async () => {
  const big = Buffer.alloc(300_000, 'x');
  const tar = new TarBuilder()
    .file('a', big)
    .directory('d/')
    .file('b', '')
    .symlink('l', 'a')
    .file('c', 'end');
  for (const read of [[], ['a'], ['c'], ['a', 'b', 'c']]) {
    const seen: string[] = [];
    for await (const { entry, content } of tarMembers(pieces(tar.build()))) {
      seen.push(entry.name);
      if (!read.includes(entry.name)) continue;
      expect((await collect(content)).length).toBe(entry.size);
    }
    expect(seen).toEqual(['a', 'd/', 'b', 'l', 'c']);
  }
  await writeFile(
    join(root, 'plain'),
    Buffer.concat([Buffer.alloc(200_000), Buffer.from('x'), Buffer.alloc(100_000)]),
  );
  execFileSync('cp', ['--sparse=always', 'plain', 'sparse'], { cwd: root });
  for (const format of ['gnu', 'posix']) {
    execFileSync('tar', ['-S', `--format=${format}`, '-cf', 's.tar', 'sparse'], { cwd: root });
    for await (const { content } of tarMembers(pieces(await readFile(join(root, 's.tar'))))) {
      expect(await collect(content)).toEqual(await readFile(join(root, 'plain')));
    }
  }
});
