import { describe, expect, it } from 'vitest';
import { pruneImages, sweepImages } from '../../src/images/prune.ts';
import { removeImage } from '../../src/images/remove.ts';
import { tagImage } from '../../src/images/tag.ts';
import { parseFilters } from '../../src/filters.ts';
import { makeImages } from './fixture.ts';

const force = { force: true };
const gently = { force: false };

/** An engine with `busybox:1.37` pulled. */
async function withImage() {
  const engine = makeImages();
  const built = await engine.registry.image('busybox:1.37', ['one', 'two']);
  await engine.pull('busybox:1.37');
  return { engine, built };
}

describe('removeImage', () => {
  it('by its only name removes the image, its layers and its blobs', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    expect(await removeImage(engine.images, 'busybox:1.37', gently)).toEqual([
      { Untagged: 'busybox:1.37' },
      { Untagged: `busybox@${built.manifest.digest}` },
      { Deleted: built.id },
      ...built.chain.toReversed().map((chainId) => ({ Deleted: chainId })),
    ]);
    expect(engine.snapshots.infos.size).toBe(0);
    for await (const blob of engine.content.list()) throw new Error(`left behind: ${blob.digest}`);
  });

  it('keeps the layers and blobs that another image has', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    const other = await engine.registry.image('other:1', ['one', 'three']);
    await engine.pull('other:1');
    expect(await removeImage(engine.images, 'busybox:1.37', gently)).toContainEqual({
      Deleted: built.chain[1],
    });
    expect([...engine.snapshots.infos.keys()]).toEqual(other.chain);
    expect(await engine.content.has(other.layers[0]!)).toBe(true);
    expect(await engine.content.has(built.layers[1]!)).toBe(false);
  });

  it('by one of several names only untags', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    tagImage(engine.images, 'busybox:1.37', 'mine', '1');
    expect(await removeImage(engine.images, 'busybox:1.37', gently)).toEqual([
      { Untagged: 'busybox:1.37' },
      { Untagged: `busybox@${built.manifest.digest}` },
    ]);
    expect(engine.images.resolve('mine:1').id).toBe(built.id);
  });

  it('by id with names in several repositories needs force, and then takes them all', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    tagImage(engine.images, 'busybox:1.37', 'mine', '1');
    const short = built.id.slice(7, 19);
    await expect(removeImage(engine.images, short, gently)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
    });
    const removed = await removeImage(engine.images, short, force);
    expect(removed.slice(0, 3)).toEqual([
      { Untagged: 'busybox:1.37' },
      { Untagged: 'mine:1' },
      { Untagged: `busybox@${built.manifest.digest}` },
    ]);
    expect(removed).toContainEqual({ Deleted: built.id });
  });

  it('by id with one name takes the name with it', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    const removed = await removeImage(engine.images, built.id, gently);
    expect(removed).toContainEqual({ Untagged: 'busybox:1.37' });
    expect(removed).toContainEqual({ Deleted: built.id });
  });

  it('is refused while a container uses the image: a stopped one can be overruled, a running one cannot', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    const short = built.id.slice(7, 19);
    const user = { imageId: built.id, containerId: 'c'.repeat(64), running: false };
    engine.users.push(user);
    await expect(removeImage(engine.images, 'busybox:1.37', gently)).rejects.toThrow(
      `conflict: unable to remove repository reference "busybox:1.37" (must force) - container cccccccccccc is using its referenced image ${short}`,
    );
    await expect(removeImage(engine.images, short, gently)).rejects.toThrow(
      `conflict: unable to delete ${short} (must be forced) - image is being used by stopped container cccccccccccc`,
    );
    user.running = true;
    await expect(removeImage(engine.images, short, force)).rejects.toThrow(
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container cccccccccccc`,
    );
    // a forced untag leaves the image to its container
    const untagged = await removeImage(engine.images, 'busybox:1.37', force);
    expect(untagged[0]).toEqual({ Untagged: 'busybox:1.37' });
    expect(engine.images.get(built.id).repoTags).toEqual([]);
  });

  it('with force leaves the layers that a stopped container stands on', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    engine.users.push({ imageId: built.id, containerId: 'c'.repeat(64), running: false });
    await engine.snapshots.prepare('container', built.chain.at(-1));
    const removed = await removeImage(engine.images, 'busybox:1.37', force);
    expect(removed.at(-1)).toEqual({ Deleted: built.id });
    expect(engine.snapshots.infos.has(built.chain[0]!)).toBe(true);
  });

  it('does not take what a pull under way needs', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    using _lease = engine.images.leases.hold([built.layers[0]!.digest, built.chain[0]!]);
    await removeImage(engine.images, 'busybox:1.37', gently);
    expect(await engine.content.has(built.layers[0]!)).toBe(true);
    expect(engine.snapshots.infos.has(built.chain[0]!)).toBe(true);
  });

  it.each(['nosuch', 'nosuch:1', 'sha256:' + 'a'.repeat(64), 'deadbeef'])(
    'does not find %s',
    async (name) => {
      using engine = makeImages();
      await expect(removeImage(engine.images, name, gently)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringContaining('No such image: ') as string,
      });
    },
  );
});

describe('pruneImages', () => {
  const never = new AbortController().signal;

  it('takes images without a tag, and unused ones on demand', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    await engine.registry.image('busybox:1.37', ['new']);
    await engine.pull('busybox:1.37');
    const { removed, reclaimedBytes } = await pruneImages(engine.images, parseFilters('{}', []), never);
    expect(removed).toContainEqual({ Deleted: built.id });
    expect(reclaimedBytes).toBeGreaterThan(0);
    expect(engine.images.all()).toHaveLength(1);
    await pruneImages(engine.images, parseFilters('{"dangling":["false"]}', ['dangling']), never);
    expect(engine.images.all()).toEqual([]);
  });

  it('spares what a container uses', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    engine.users.push({ imageId: built.id, containerId: 'c'.repeat(64), running: false });
    await pruneImages(engine.images, parseFilters('{"dangling":["false"]}', ['dangling']), never);
    expect(engine.images.all()).toHaveLength(1);
  });
});

describe('sweepImages', () => {
  it('removes old blobs and layers without an image, and keeps young ones for the next pull', async () => {
    const { engine, built } = await withImage();
    using _engine = engine;
    await engine.registry.image('half:1', ['half', 'way']);
    const { unpackLayer } = engine.unpacker;
    let layers = 0;
    engine.unpacker.unpackLayer = (...args) =>
      (layers += 1) > 1 ? Promise.reject(new Error('killed')) : unpackLayer(...args);
    await expect(engine.pull('half:1')).rejects.toThrow('killed');
    const before = engine.snapshots.infos.size;
    await sweepImages(engine.images);
    expect(engine.snapshots.infos.size).toBe(before);
    await sweepImages(engine.images, { now: Date.now() + 2 * 24 * 3600 * 1000 });
    expect([...engine.snapshots.infos.keys()]).toEqual(built.chain);
    const kept: string[] = [];
    for await (const { digest } of engine.content.list()) kept.push(digest);
    expect(kept.sort()).toEqual(
      [built.id, built.manifest.digest, ...built.layers.map((l) => l.digest)].sort(),
    );
  });
});
