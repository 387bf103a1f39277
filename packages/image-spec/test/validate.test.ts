import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  EMPTY_DESCRIPTOR,
  EMPTY_JSON,
  MEDIA_TYPES,
  digestOf,
  embeddedContent,
  errorBodySchema,
  parseDigest,
  parseImageConfig,
  parseManifestDocument,
  repositoryListSchema,
  tagListSchema,
  validateDocument,
} from '../src/index.ts';

const digest = parseDigest(`sha256:${'a'.repeat(64)}`);
const config = { mediaType: MEDIA_TYPES.ociConfig, digest, size: 2 };
const layer = { mediaType: MEDIA_TYPES.ociLayerGzip, digest, size: 3 };
const manifest = { schemaVersion: 2, config, layers: [layer] };
const index = { schemaVersion: 2, manifests: [{ ...config, mediaType: MEDIA_TYPES.ociManifest }] };
const image = {
  architecture: 'amd64',
  os: 'linux',
  rootfs: { type: 'layers', diff_ids: [digest] },
};
const bytesOf = (value: unknown) =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const paths = async (value: unknown, type: string) =>
  (await validateDocument(bytesOf(value), type)).map(({ path }) => path);

describe('validateDocument', () => {
  test.each([
    [manifest, MEDIA_TYPES.ociManifest],
    [{ ...manifest, mediaType: MEDIA_TYPES.dockerManifest }, MEDIA_TYPES.dockerManifest],
    [{ ...manifest, config: EMPTY_DESCRIPTOR, layers: [EMPTY_DESCRIPTOR], artifactType: 'a/b' }, MEDIA_TYPES.ociManifest],
    [{ ...manifest, subject: config, 'x-own': null, annotations: { a: '' } }, MEDIA_TYPES.ociManifest],
    [index, MEDIA_TYPES.ociIndex],
    [{ ...image, created: '2026-01-01T00:00:00.123456789+01:00', history: [{ empty_layer: true }, {}] }, MEDIA_TYPES.ociConfig],
    [{ ...image, config: { Cmd: null, Env: ['A=', 'B=c=d'], ExposedPorts: { '80/tcp': {}, '53': {} }, Volumes: null, OnBuild: ['COPY . /'] } }, MEDIA_TYPES.dockerConfig],
    [{ ...image, config: { Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 30e9, Retries: 3 }, StopSignal: 'SIGRTMIN+3' } }, MEDIA_TYPES.dockerConfig],
    [{ imageLayoutVersion: '1.0.0' }, MEDIA_TYPES.ociLayout],
    [{}, MEDIA_TYPES.ociEmpty],
  ])('finds nothing wrong with %j', async (value, type) => {
    expect(await validateDocument(bytesOf(value), type)).toEqual([]);
  }); // prettier-ignore

  test.each([
    [{ ...manifest, layers: null }, MEDIA_TYPES.ociManifest, '$.layers'],
    [manifest, MEDIA_TYPES.dockerManifest, '$.mediaType'],
    [{ ...manifest, mediaType: MEDIA_TYPES.ociIndex }, MEDIA_TYPES.ociManifest, '$.mediaType'],
    [{ ...manifest, config: EMPTY_DESCRIPTOR }, MEDIA_TYPES.ociManifest, '$.artifactType'],
    [{ ...manifest, artifactType: 'no type' }, MEDIA_TYPES.ociManifest, '$.artifactType'],
    [{ ...manifest, layers: [{ ...layer, urls: ['not a url'] }] }, MEDIA_TYPES.ociManifest, '$.layers[0].urls[0]'],
    [{ ...manifest, layers: [layer, { ...layer, data: 'e30' }] }, MEDIA_TYPES.ociManifest, '$.layers[1].data'],
    [{ ...manifest, layers: [{ ...layer, data: 'AAAA' }] }, MEDIA_TYPES.ociManifest, '$.layers[0].data'],
    [{ ...manifest, config: { ...EMPTY_DESCRIPTOR, mediaType: 'a/b', data: 'e319' } }, MEDIA_TYPES.ociManifest, '$.config.data'],
    [{ ...manifest, annotations: { 'a.b': 1 } }, MEDIA_TYPES.ociManifest, '$.annotations["a.b"]'],
    [{ ...manifest, manifests: [] }, MEDIA_TYPES.ociManifest, '$'],
    [{ ...index, manifests: [] }, MEDIA_TYPES.dockerManifestList, '$.mediaType'],
    [{ ...index, manifests: [{ ...config, platform: { os: 'linux' } }] }, MEDIA_TYPES.ociIndex, '$.manifests[0].platform.architecture'],
    [{ ...index, mediaType: MEDIA_TYPES.dockerManifestList }, MEDIA_TYPES.dockerManifestList, '$.manifests[0].platform'],
    [{ ...image, created: 'yesterday' }, MEDIA_TYPES.ociConfig, '$.created'],
    [{ ...image, architecture: '' }, MEDIA_TYPES.ociConfig, '$.architecture'],
    [{ ...image, history: [{}, {}] }, MEDIA_TYPES.ociConfig, '$.history'],
    [{ ...image, history: [{ created: '2026-13-01T00:00:00Z' }] }, MEDIA_TYPES.ociConfig, '$.history[0].created'],
    [{ ...image, config: { Env: ['A=1', 'B'] } }, MEDIA_TYPES.ociConfig, '$.config.Env[1]'],
    [{ ...image, config: { ExposedPorts: { '80/tpc': {} } } }, MEDIA_TYPES.ociConfig, '$.config.ExposedPorts["80/tpc"]'],
    [{ ...image, config: { Cmd: 'sh' } }, MEDIA_TYPES.ociConfig, '$.config.Cmd'],
    [{ ...image, config: { StopSignal: 'sig kill' } }, MEDIA_TYPES.ociConfig, '$.config.StopSignal'],
    [{ ...image, config: { Healthcheck: { Test: ['true'] } } }, MEDIA_TYPES.dockerConfig, '$.config.Healthcheck.Test'],
    [{ ...image, config: { Healthcheck: { Interval: 5 } } }, MEDIA_TYPES.dockerConfig, '$.config.Healthcheck.Interval'],
    [{ ...image, config: { OnBuild: ['RUN true', 'FROM x'] } }, MEDIA_TYPES.dockerConfig, '$.config.OnBuild[1]'],
    [{ imageLayoutVersion: '2' }, MEDIA_TYPES.ociLayout, '$.imageLayoutVersion'],
    [{ a: 1 }, MEDIA_TYPES.ociEmpty, '$'],
    ['{"schemaVersion":2', MEDIA_TYPES.ociManifest, '$'],
  ])('finds in %j as %s what is wrong at %s', async (value, type, path) => {
    expect(await paths(value, type)).toEqual([path]);
  }); // prettier-ignore

  test('finds keys that are there twice, however deep and however written', async () => {
    const text = JSON.stringify({ ...manifest, layers: [layer, layer] });
    const second = text.replace(/"size":3(?=}\]})/, String.raw`"size":3,"s\u0069ze" : 4`);
    expect(await paths(second, MEDIA_TYPES.ociManifest)).toEqual(['$.layers[1].size']);
    expect(await paths(text.replace('{', '{"config":{},'), MEDIA_TYPES.ociManifest)).toEqual(['$.config']);
    expect(
      await paths({ ...manifest, annotations: { a: '"a":1,{', b: 'a' } }, MEDIA_TYPES.ociManifest),
    ).toEqual([]);
  });

  test('knows no rules for other types', async () => {
    await expect(validateDocument(EMPTY_JSON, 'text/plain')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  test('finds repeated keys exactly where a document has them', async () => {
    const key = fc.constantFrom('a', 'b', '"', '\\', '{', 'é', ':', ',');
    const { tree } = fc.letrec<{ tree: string; entry: [string, string] }>((tie) => ({
      entry: fc.tuple(key, tie('tree')),
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.jsonValue({ maxDepth: 0 }).map((value) => JSON.stringify(value)),
        fc.array(tie('tree'), { maxLength: 3 }).map((items) => `[${items.join(' , ')}]`),
        fc
          .uniqueArray(tie('entry'), { maxLength: 4, selector: ([name]) => name })
          .map(
            (entries) =>
              `{${entries.map(([name, value]) => `${JSON.stringify(name)} : ${value}`).join(',')}}`,
          ),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(tree, async (text) => {
        const whole = `${JSON.stringify(manifest).slice(0, -1)},"x":${text}`;
        expect(await paths(`${whole}}`, MEDIA_TYPES.ociManifest)).toEqual([]);
        expect(
          await paths(`${whole},"y":[${text},{"a":${text},"\\u0061":0}]}`, MEDIA_TYPES.ociManifest),
        ).toEqual(['$.y[1].a']);
      }),
    );
  });
});

test('whatever is valid can be read, and writing what was read loses nothing but null', async () => {
  const unknown = fc.dictionary(
    fc.stringMatching(/^x-[a-z]{1,5}$/),
    fc.jsonValue({ maxDepth: 2, noUnicodeString: false }),
    { maxKeys: 3 },
  );
  const annotated = fc.record(
    { annotations: fc.dictionary(fc.stringMatching(/^.{1,5}$/), fc.string(), { noNullPrototype: true }) },
    { requiredKeys: [] },
  );
  const some = fc.record({ own: unknown, outer: unknown, annotated });
  await fc.assert(
    fc.asyncProperty(some, async ({ own, outer, annotated: more }) => {
      const value = { ...manifest, ...more, ...outer, layers: [{ ...layer, ...own }] };
      const bytes = bytesOf(value);
      expect(await validateDocument(bytes, MEDIA_TYPES.ociManifest)).toEqual([]);
      const document = parseManifestDocument(bytes, { ...config, mediaType: MEDIA_TYPES.ociManifest });
      expect(document.bytes).toBe(bytes);
      const { manifest: read } = document as Extract<typeof document, { kind: 'manifest' }>;
      expect(JSON.parse(JSON.stringify(read))).toEqual(JSON.parse(JSON.stringify(value)));
      const run = { ...image, ...outer, config: { Cmd: ['a'], Labels: null, ...own } };
      const { Labels: _, ...kept } = run.config;
      expect(JSON.parse(JSON.stringify(parseImageConfig(bytesOf(run), config)))).toEqual(
        JSON.parse(JSON.stringify({ ...run, config: kept })),
      );
    }),
  );
});

test('content that a descriptor carries is verified', async () => {
  expect(await embeddedContent(EMPTY_DESCRIPTOR)).toEqual(EMPTY_JSON);
  expect(EMPTY_DESCRIPTOR.digest).toBe(await digestOf(EMPTY_JSON));
  expect(await embeddedContent(layer)).toBeUndefined();
  const { mediaType, size, digest: empty } = EMPTY_DESCRIPTOR;
  const carrying = (data: string) => embeddedContent({ mediaType, size, digest: empty, data });
  await expect(carrying('e319')).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
  await expect(carrying('e3s=')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  await expect(carrying('*')).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
});

test('answers of registries are read as registries write them', () => {
  expect(tagListSchema.parse({ name: 'a', tags: null, more: 1 })).toEqual({ name: 'a', tags: [], more: 1 });
  expect(repositoryListSchema.parse({}).repositories).toEqual([]);
  expect(tagListSchema.safeParse({ tags: [1] }).success).toBe(false);
  const body = { errors: [{ code: 'DENIED', message: null, detail: { a: 1 } }] };
  expect(errorBodySchema.parse(body).errors[0]).toMatchObject({ code: 'DENIED', detail: { a: 1 } });
  expect(errorBodySchema.safeParse({ error: 'x' }).success).toBe(false);
});
