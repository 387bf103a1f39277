/** Searching: by the index protocol where a registry speaks it, in the catalog elsewhere. */
import { describe, expect, test } from 'vitest';
import { RegistryClient } from '../src/index.ts';
import { answer, startTestRegistry } from '../src/testing/index.ts';

const index = (body: unknown) => answer(200, { 'content-type': 'application/json' }, JSON.stringify(body));

describe('search', () => {
  test('asks the registry’s own search, and takes what a registry leaves out as nothing', async () => {
    await using registry = await startTestRegistry();
    await using client = new RegistryClient();
    registry.intercept(
      /^GET \/v1\/search\?q=bo%26x&n=2$/,
      index({
        results: [
          { name: 'box', description: 'a box', star_count: 7, is_official: true, pull_count: 1 },
          { name: 'team/box', description: null },
          { name: 'one/too/many' },
        ],
      }),
    );
    expect(await client.search(registry.host, 'bo&x', { limit: 2 })).toEqual([
      { name: 'box', description: 'a box', stars: 7, official: true },
      { name: 'team/box', description: '', stars: 0, official: false },
    ]);
  });

  test.each([
    ['that has none', answer(404)],
    ['whose answer is something else', answer(200, {}, '<html>')],
  ])('looks through the catalog of a registry %s', async (_, fault) => {
    await using registry = await startTestRegistry();
    await using client = new RegistryClient();
    for (const name of ['app/box', 'boxes', 'other', 'tool/box']) {
      registry.addManifest(name, 'one', 'application/vnd.oci.image.manifest.v1+json', {});
    }
    registry.intercept(/^GET \/v1\/search/, fault, 9);
    const names = async (limit?: number) =>
      (await client.search(registry.host, 'box', limit === undefined ? {} : { limit })).map(
        ({ name }) => name,
      );
    expect(await names()).toEqual(['app/box', 'boxes', 'tool/box']);
    expect(await names(2)).toEqual(['app/box', 'boxes']);
  });

  test('a registry that refuses is not asked in another way', async () => {
    await using registry = await startTestRegistry();
    await using client = new RegistryClient();
    registry.intercept(/^GET \/v1\/search/, answer(403), 9);
    await expect(client.search(registry.host, 'box')).rejects.toMatchObject({ code: 'DENIED' });
    expect(registry.log().filter((line) => line.includes('_catalog'))).toEqual([]);
  });
});
