/** Pulls over HTTP into a real layer store, and what a process that is killed in the middle of one leaves. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { digestOf, MEDIA_TYPES, type Descriptor } from '@tare/image-spec';
import { answer, startTestRegistry, type TestRegistry } from '@tare/registry-client/testing';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeImage } from '../../src/images/remove.ts';
import { NEW_LAYER } from './pull-steps.ts';
import { openRealImages } from './real-images.ts';

const skipped = process.getuid?.() === 0 ? undefined : 'needs root, to give files their owners';
if (skipped !== undefined) console.warn(`skipping pulls into a real layer store: ${skipped}`);

/** A layer with one file, of `size` random bytes when it is to take its time on the way. */
async function layerOf(path: string, content: string | Uint8Array): Promise<Buffer> {
  const archive = pack();
  archive.entry({ name: path, mode: 0o644, uid: 1000, gid: 1000 }, Buffer.from(content));
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

async function addImage(registry: TestRegistry, name: string, archives: Buffer[]): Promise<Descriptor[]> {
  const config = registry.addBlob(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/hello'] },
      rootfs: { type: 'layers', diff_ids: await Promise.all(archives.map((archive) => digestOf(archive))) },
    }),
    MEDIA_TYPES.ociConfig,
  );
  const layers = archives.map((archive) => registry.addBlob(gzipSync(archive), MEDIA_TYPES.ociLayerGzip));
  const mediaType = MEDIA_TYPES.ociManifest;
  registry.addManifest(name, 'latest', mediaType, { schemaVersion: 2, mediaType, config, layers });
  return layers;
}

describe.skipIf(skipped !== undefined)('pull into a real store', () => {
  let registry: TestRegistry;
  let dataRoot: string;
  beforeEach(async () => {
    registry = await startTestRegistry();
    dataRoot = await mkdtemp(join(tmpdir(), 'tare-pull-'));
  });
  afterEach(async () => {
    await registry[Symbol.asyncDispose]();
    await rm(dataRoot, { recursive: true, force: true });
  });
  const downloads = (layer: Descriptor): number =>
    registry.log().filter((line) => line.startsWith('GET') && line.includes(layer.digest)).length;

  it('unpacks files with their owners, and removes everything with the image', async () => {
    await addImage(registry, 'app', [await layerOf('hello', 'one'), await layerOf('world', 'two')]);
    await using engine = await openRealImages(dataRoot);
    await engine.pull(`${registry.host}/app:latest`);
    const image = engine.images.resolve(`${registry.host}/app`);
    const [mount] = await engine.layers.snapshots.prepare('container', image.chainId);
    const lowers = mount!.options
      .find((option) => option.startsWith('lowerdir='))!
      .slice(9)
      .split(':');
    expect(await readFile(join(lowers[0]!, 'world'), 'utf8')).toBe('two');
    expect(await readFile(join(lowers[1]!, 'hello'), 'utf8')).toBe('one');
    expect(image.sizeBytes).toBeGreaterThan(0);

    await engine.layers.snapshots.remove('container');
    await removeImage(engine.images, `${registry.host}/app`, { force: false });
    for await (const { name } of engine.layers.snapshots.list()) throw new Error(`snapshot left: ${name}`);
    for await (const { digest } of engine.layers.content.list()) throw new Error(`blob left: ${digest}`);
    expect(await readdir(join(dataRoot, 'layers', 'snapshots', 's'))).toEqual([]);
  });

  it('takes every tag when the API is asked for none', async () => {
    const [layer] = await addImage(registry, 'app', [await layerOf('hello', 'one')]);
    const { mediaType, bytes } = registry.manifests.get('app:latest')!;
    registry.addManifest('app', 'old', mediaType, JSON.parse(Buffer.from(bytes).toString()) as object);
    await using engine = await openRealImages(dataRoot);
    await engine.pull(`${registry.host}/app`);
    const [image] = engine.images.all();
    expect(image!.repoTags).toEqual([`${registry.host}/app:latest`, `${registry.host}/app:old`]);
    expect(downloads(layer!)).toBe(1);
  });

  it('killed in the middle shows nothing, and the next one takes what is there', async () => {
    const [small, large] = await addImage(registry, 'app', [
      await layerOf('hello', 'one'),
      await layerOf('large', randomBytes(2_000_000)),
    ]);
    const stuck = Promise.withResolvers<void>();
    registry.intercept(new RegExp(`^GET .*${large!.digest}`), (request, response) => {
      request.resume();
      response.writeHead(200, { 'Content-Length': large!.size });
      response.write(registry.blobs.get(large!.digest)!.subarray(0, 1_000_000));
      stuck.resolve();
    });
    const program = join(import.meta.dirname, 'real-images.ts');
    const name = `${registry.host}/app:latest`;
    const child = spawn(process.execPath, ['--conditions=@tare/source', program, dataRoot, name], {
      stdio: 'inherit',
    });
    await stuck.promise;
    // the first layer has arrived and is being unpacked, or is unpacked already
    await expect.poll(() => downloads(small!)).toBe(1);
    await expect
      .poll(async () => (await readdir(join(dataRoot, 'layers', 'content', 'blobs', 'sha256'))).length)
      .toBe(2);
    child.kill('SIGKILL');
    await once(child, 'exit');

    await using engine = await openRealImages(dataRoot);
    expect(engine.images.all()).toEqual([]);
    expect(() => engine.images.resolve(name)).toThrow('No such image');
    const messages = await engine.pull(name);
    expect(messages.at(-1)?.status).toContain('Downloaded newer image');
    expect(downloads(small!)).toBe(1);
    expect(engine.images.resolve(name).chain).toHaveLength(2);
    expect(await readdir(join(dataRoot, 'layers', 'snapshots', 't'))).toEqual([]);
  });

  it('of a layer that is not what it says fails, and leaves no image', async () => {
    const [layer] = await addImage(registry, 'app', [await layerOf('hello', 'one')]);
    registry.blobs.set(layer!.digest, Buffer.alloc(layer!.size));
    await using engine = await openRealImages(dataRoot);
    await expect(engine.pull(`${registry.host}/app:latest`)).rejects.toThrow(/digest/i);
    expect(engine.images.all()).toEqual([]);
  });

  it.each<[string, (whole: Uint8Array) => Uint8Array]>([
    [
      'with a wrong byte near its end',
      (whole) => whole.map((byte, i) => (i === 2_900_000 ? byte ^ 1 : byte)),
    ],
    ['that ends early', (whole) => whole.subarray(0, 2_000_000)],
    ['that goes on after its end', (whole) => Buffer.concat([whole, Buffer.alloc(9)])],
  ])('of a layer %s leaves nothing of it, although it was unpacked meanwhile', async (_, spoil) => {
    const [layer] = await addImage(registry, 'app', [await layerOf('large', randomBytes(3_000_000))]);
    const whole = registry.blobs.get(layer!.digest)!;
    registry.intercept(new RegExp(layer!.digest), answer(200, {}, Buffer.from(spoil(whole))), 9);
    await using engine = await openRealImages(dataRoot);
    await expect(engine.pull(`${registry.host}/app:latest`)).rejects.toThrow(/content of sha256|should have/);
    expect(engine.images.all()).toEqual([]);
    for (const folder of ['s', 'm', 't']) {
      expect(await readdir(join(dataRoot, 'layers', 'snapshots', folder))).toEqual([]);
    }
  });

  it('goes on after a broken connection, and tells one step after the other', async () => {
    const bytes = randomBytes(3_000_000);
    const [layer] = await addImage(registry, 'app', [await layerOf('large', bytes)]);
    const cut = [1_000_000, 700_000].values();
    registry.intercept(
      new RegExp(`^GET .*${layer!.digest}`),
      (_request, _response, serve) => serve({ cutAfterBytes: cut.next().value! }),
      2,
    );
    await using engine = await openRealImages(dataRoot);
    const messages = await engine.pull(`${registry.host}/app:latest`);
    expect(downloads(layer!)).toBe(3);
    const steps = messages.map(({ status }) => status).filter((status, i, all) => status !== all[i - 1]);
    expect(steps.slice(1, -2)).toEqual(NEW_LAYER);
    const { chainId } = engine.images.resolve(`${registry.host}/app`);
    expect(await engine.layers.snapshots.usage(chainId!)).toEqual({ sizeBytes: 3_000_000, inodes: 2 });
  });

  it("refuses in dockerd's words what the registry refuses", async () => {
    const { host } = registry;
    await using engine = await openRealImages(dataRoot);
    await expect(engine.pull(`${host}/nope:latest`)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringMatching(/^(manifest for|repository) .*nope.* not found: /) as string,
    });
    const denied = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}';
    registry.intercept(/manifests/, answer(403, { 'Content-Type': 'application/json' }, denied), 9);
    await expect(engine.pull(`${host}/secret:latest`)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining(
        `pull access denied for ${host}/secret, repository does not exist or may require 'docker login': denied: `,
      ) as string,
    });
  });

  it('names the registry that cannot be reached', async () => {
    await using engine = await openRealImages(dataRoot);
    const { host } = registry;
    await registry[Symbol.asyncDispose]();
    registry = await startTestRegistry();
    await expect(engine.pull(`${host}/app:latest`)).rejects.toMatchObject({
      code: 'SYSTEM',
      message: expect.stringContaining(host) as string,
    });
  });
});
