import { describe, expect, it } from 'vitest';
import { parseFilters } from '../../src/filters.ts';
import { imageHistory } from '../../src/images/history.ts';
import { IMAGE_FILTERS, listImages } from '../../src/images/list.ts';
import { tagImage } from '../../src/images/tag.ts';
import { makeImages } from './fixture.ts';

async function withTwo() {
  const engine = makeImages();
  const old = await engine.registry.image('busybox:1.36', ['old'], {
    created: '2023-01-01T00:00:00Z',
    config: { Labels: { tier: 'base' } },
  });
  const fresh = await engine.registry.image('localhost:5000/team/app:2', ['new'], {
    created: '2024-01-01T00:00:00Z',
    config: {},
  });
  await engine.pull('busybox:1.36');
  await engine.pull('localhost:5000/team/app:2');
  return { engine, old, fresh };
}

describe('resolve', () => {
  it('takes names, ids, beginnings of ids, and digests', async () => {
    const { engine, old, fresh } = await withTwo();
    using _engine = engine;
    const hex = old.id.slice(7);
    for (const name of [
      'busybox:1.36',
      'docker.io/library/busybox:1.36',
      old.id,
      hex,
      hex.slice(0, 12),
      `sha256:${hex.slice(0, 12)}`,
      `busybox@${old.manifest.digest}`,
      `busybox:1.36@${old.manifest.digest}`,
    ]) {
      expect(engine.images.resolve(name).id, name).toBe(old.id);
    }
    expect(engine.images.resolve('localhost:5000/team/app:2').id).toBe(fresh.id);
  });

  it('needs the repository of a digest to match', async () => {
    const { engine, old } = await withTwo();
    using _engine = engine;
    expect(() => engine.images.resolve(`other@${old.manifest.digest}`)).toThrow(
      'No such image: other@sha256:',
    );
  });

  it('lets a name win over an id that begins like it', async () => {
    const { engine, old, fresh } = await withTwo();
    using _engine = engine;
    const prefix = old.id.slice(7, 13);
    tagImage(engine.images, fresh.id, prefix, 'latest');
    expect(engine.images.resolve(prefix).id).toBe(fresh.id);
  });

  it("does not find others, in Docker's words", async () => {
    using engine = makeImages();
    expect(() => engine.images.resolve('nosuchthing')).toThrow('No such image: nosuchthing:latest');
    expect(() => engine.images.resolve('a/b:1')).toThrow('No such image: a/b:1');
    expect(() => engine.images.resolve('UPPER')).toThrow('repository name must be lowercase');
  });
});

describe('tag', () => {
  it('makes names and moves them', async () => {
    const { engine, old, fresh } = await withTwo();
    using _engine = engine;
    tagImage(engine.images, 'busybox:1.36', 'mine', '');
    expect(engine.images.resolve('mine').id).toBe(old.id);
    tagImage(engine.images, fresh.id, 'docker.io/library/mine:latest', '');
    expect(engine.images.resolve('mine').id).toBe(fresh.id);
    expect(engine.images.get(old.id).repoTags).toEqual(['busybox:1.36']);
  });

  it.each([
    ['', 'x', 'INVALID'],
    ['Upper', 'x', 'INVALID_REFERENCE'],
    ['a'.repeat(64).replaceAll('a', 'f'), '', 'INVALID_REFERENCE'],
    ['repo', 'bad/tag', 'INVALID_REFERENCE'],
    ['repo', 'a@sha256:b', 'INVALID_REFERENCE'],
    ['sha256', 'x', 'INVALID'],
    ['../../etc', 'x', 'INVALID_REFERENCE'],
  ])('refuses %j:%j', async (repo, tag, code) => {
    const { engine } = await withTwo();
    using _engine = engine;
    expect(() => tagImage(engine.images, 'busybox:1.36', repo, tag)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(`^${code}|^INVALID`) as string }),
    );
  });
});

describe('list', () => {
  const list = (engine: ReturnType<typeof makeImages>, filters: string): string[] =>
    listImages(engine.images, parseFilters(filters, IMAGE_FILTERS)).flatMap((image) => image.repoTags);

  it('shows the newest first', async () => {
    const { engine } = await withTwo();
    using _engine = engine;
    expect(list(engine, '{}')).toEqual(['localhost:5000/team/app:2', 'busybox:1.36']);
  });

  it.each([
    ['{"label":["tier"]}', ['busybox:1.36']],
    ['{"label":["tier=base"]}', ['busybox:1.36']],
    ['{"label!":["tier"]}', ['localhost:5000/team/app:2']],
    ['{"reference":["busybox"]}', ['busybox:1.36']],
    ['{"reference":["docker.io/library/busybox:1.36"]}', ['busybox:1.36']],
    ['{"reference":["busy*:1.*"]}', ['busybox:1.36']],
    ['{"reference":["*"]}', ['busybox:1.36']],
    ['{"reference":["*/*/app"]}', ['localhost:5000/team/app:2']],
    ['{"reference":["nope"]}', []],
    ['{"dangling":["true"]}', []],
    ['{"since":["busybox:1.36"]}', ['localhost:5000/team/app:2']],
    ['{"before":["localhost:5000/team/app:2"]}', ['busybox:1.36']],
    ['{"until":["2023-06-01"]}', ['busybox:1.36']],
  ])('filters by %s', async (filters, expected) => {
    const { engine } = await withTwo();
    using _engine = engine;
    expect(list(engine, filters)).toEqual(expected);
  });

  it('refuses an unknown image in "since"', async () => {
    const { engine } = await withTwo();
    using _engine = engine;
    expect(() => list(engine, '{"since":["nope"]}')).toThrow('No such image: nope:latest');
  });
});

describe('history', () => {
  it('has one entry a step, newest first, and sizes of the steps that made a layer', async () => {
    const { engine, old } = await withTwo();
    using _engine = engine;
    const entries = imageHistory(engine.images, engine.images.get(old.id));
    expect(entries).toEqual([
      {
        id: old.id,
        createdBy: 'CMD ["sh"]',
        createdS: 0,
        sizeBytes: 0,
        tags: ['busybox:1.36'],
        comment: '',
      },
      {
        id: '<missing>',
        createdBy: 'step 0',
        createdS: 1714979289,
        sizeBytes: old.layers[0]!.size * 10,
        tags: null,
        comment: '',
      },
    ]);
  });
});
