import { MEDIA_TYPES } from '@tare/image-spec';
import { describe, expect, it, vi } from 'vitest';
import { makeImages } from './fixture.ts';
import { NEW_LAYER } from './pull-steps.ts';

const short = (digest: string): string => digest.slice(7, 19);

describe('pull', () => {
  it("tells Docker's story, layer by layer", async () => {
    using engine = makeImages();
    const { manifest, layers, id, chain } = await engine.registry.image('busybox:1.37', ['one', 'two']);
    const messages = await engine.pull('busybox:1.37');
    expect(messages[0]).toEqual({ status: 'Pulling from library/busybox', id: '1.37' });
    expect(messages.slice(-2)).toEqual([
      { status: `Digest: ${manifest.digest}` },
      { status: 'Status: Downloaded newer image for busybox:1.37' },
    ]);
    for (const layer of layers) {
      const steps = messages
        .filter((message) => message.id === short(layer.digest))
        .map(({ status }) => status);
      expect(steps).toEqual(NEW_LAYER);
    }
    expect(engine.images.resolve('busybox:1.37')).toMatchObject({
      id,
      repoTags: ['busybox:1.37'],
      repoDigests: [`busybox@${manifest.digest}`],
      chainId: chain.at(-1),
    });
    expect(engine.unpacked).toEqual(chain);
  });

  it('moves nothing when the image is up to date', async () => {
    using engine = makeImages();
    const { manifest } = await engine.registry.image('busybox:1.37', ['one']);
    await engine.pull('busybox:1.37');
    engine.registry.fetched = [];
    const messages = await engine.pull('busybox:1.37');
    expect(messages.map(({ status }) => status)).toEqual([
      'Pulling from library/busybox',
      `Digest: ${manifest.digest}`,
      'Status: Image is up to date for busybox:1.37',
    ]);
    expect(engine.registry.fetched).toEqual([manifest.digest]);
  });

  it('downloads and unpacks only the layers that are new', async () => {
    using engine = makeImages();
    const { chain: base } = await engine.registry.image('base:1', ['shared']);
    const { layers, chain } = await engine.registry.image('app:1', ['shared', 'own']);
    await engine.pull('base:1');
    engine.registry.fetched = [];
    const messages = await engine.pull('app:1');
    expect(
      messages.filter((message) => message.id === short(layers[0]!.digest)).map(({ status }) => status),
    ).toEqual(['Pulling fs layer', 'Already exists']);
    expect(engine.registry.fetched).not.toContain(layers[0]!.digest);
    expect(engine.unpacked).toEqual([...base, chain[1]]);
  });

  it('takes the image of an index for the platform, and records the digest of the index', async () => {
    using engine = makeImages();
    const { registry } = engine;
    const amd = await registry.image('x:amd', ['amd']);
    const arm = await registry.image('x:arm', ['arm'], { platform: { os: 'linux', architecture: 'arm64' } });
    const index = await registry.json(MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [
        { ...arm.manifest, platform: { os: 'linux', architecture: 'arm64' } },
        { ...amd.manifest, platform: { os: 'linux', architecture: 'amd64' } },
      ],
    });
    registry.tag('x:multi', index);
    await engine.pull('x:multi');
    expect(engine.images.resolve('x:multi')).toMatchObject({
      id: amd.id,
      repoDigests: [`x@${index.digest}`],
    });
  });

  it('says so when there is no image for the platform', async () => {
    using engine = makeImages();
    const arm = await engine.registry.image('x:arm', ['arm']);
    const index = await engine.registry.json(MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      manifests: [{ ...arm.manifest, platform: { os: 'linux', architecture: 'arm64' } }],
    });
    engine.registry.tag('x:multi', index);
    await expect(engine.pull('x:multi')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('no matching manifest for linux/amd64') as string,
    });
  });

  it('by digest makes a digest and no tag', async () => {
    using engine = makeImages();
    const { manifest, id } = await engine.registry.image('busybox:1.37', ['one']);
    const messages = await engine.pull(`busybox@${manifest.digest}`);
    expect(messages[0]).toEqual({ status: 'Pulling from library/busybox', id: manifest.digest });
    expect(engine.images.resolve(`busybox@${manifest.digest}`)).toMatchObject({ id, repoTags: [] });
    expect((await engine.pull(`busybox@${manifest.digest}`)).at(-1)?.status).toContain('Image is up to date');
  });

  it('moves a tag to the newer image; the older one keeps its digest', async () => {
    using engine = makeImages();
    const old = await engine.registry.image('app:1', ['old']);
    await engine.pull('app:1');
    const fresh = await engine.registry.image('app:1', ['new']);
    expect((await engine.pull('app:1')).at(-1)?.status).toBe('Status: Downloaded newer image for app:1');
    expect(engine.images.resolve('app:1').id).toBe(fresh.id);
    expect(engine.images.get(old.id)).toMatchObject({
      repoTags: [],
      repoDigests: [`app@${old.manifest.digest}`],
    });
  });

  it('that fails leaves no image and no name, and the next one uses what it got', async () => {
    using engine = makeImages();
    const { id, layers } = await engine.registry.image('app:1', ['one', 'two']);
    const { unpackLayer } = engine.unpacker;
    engine.unpacker.unpackLayer = async (layer, parent, options) => {
      await options.arrival;
      if (layer.descriptor.digest === layers[1]!.digest) throw new Error('disk full');
      return unpackLayer(layer, parent, options);
    };
    await expect(engine.pull('app:1')).rejects.toThrow('disk full');
    expect(engine.images.all()).toEqual([]);
    expect(() => engine.images.resolve('app:1')).toThrow('No such image: app:1');

    engine.unpacker.unpackLayer = unpackLayer;
    engine.registry.fetched = [];
    await engine.pull('app:1');
    expect(engine.images.resolve('app:1').id).toBe(id);
    for (const layer of layers) expect(engine.registry.fetched).not.toContain(layer.digest);
    expect(engine.unpacked).toHaveLength(2);
  });

  it('that is cancelled ends at once and holds nothing', async () => {
    using engine = makeImages();
    const { layers } = await engine.registry.image('app:1', ['one']);
    engine.registry.held.set(layers[0]!.digest, new Promise(() => {}));
    const cancel = new AbortController();
    const pulling = engine.pull('app:1', cancel.signal);
    const failure = expect(pulling).rejects.toThrow('gone');
    await vi.waitUntil(() => engine.registry.fetched.includes(layers[0]!.digest));
    cancel.abort(new Error('the client is gone'));
    await failure;
    expect(engine.images.leases.has(layers[0]!.digest)).toBe(false);
    expect(engine.images.all()).toEqual([]);
  });

  it('of two at once unpacks a shared layer once', async () => {
    using engine = makeImages();
    await engine.registry.image('app:1', ['shared', 'one']);
    await engine.registry.image('app:2', ['shared', 'two']);
    await Promise.all([engine.pull('app:1'), engine.pull('app:2')]);
    expect(engine.unpacked).toHaveLength(3);
    expect(engine.images.all()).toHaveLength(2);
  });

  it('downloads no more at once than it may', async () => {
    using engine = makeImages();
    const { layers } = await engine.registry.image('app:1', ['a', 'b', 'c', 'd', 'e']);
    const gate = Promise.withResolvers<void>();
    for (const layer of layers) engine.registry.held.set(layer.digest, gate.promise);
    const pulling = engine.pull('app:1');
    const wanted = (): number =>
      layers.filter(({ digest }) => engine.registry.fetched.includes(digest)).length;
    await vi.waitUntil(() => wanted() === 3);
    for (let i = 0; i < 20; i += 1) await new Promise(setImmediate);
    expect(wanted()).toBe(3);
    gate.resolve();
    const messages = await pulling;
    expect(messages.filter(({ status }) => status === 'Waiting')).toHaveLength(2);
  });

  it('refuses an image for another operating system, and what is no image', async () => {
    using engine = makeImages();
    await engine.registry.image('win:1', ['x'], { platform: { os: 'windows', architecture: 'amd64' } });
    await expect(engine.pull('win:1')).rejects.toMatchObject({ code: 'INVALID' });
    engine.registry.tag('junk:1', await engine.registry.json('application/x-chart', {}));
    await expect(engine.pull('junk:1')).rejects.toThrow('is no image');
  });

  it('tells the world', async () => {
    using engine = makeImages();
    await engine.registry.image('busybox:1.37', ['one']);
    const stream = engine.events.subscribe();
    await engine.pull('busybox:1.37');
    const { value } = await stream.next();
    expect(value).toMatchObject({
      type: 'image',
      action: 'pull',
      id: 'busybox:1.37',
      attributes: { name: 'busybox', a: 'b' },
    });
  });
});
