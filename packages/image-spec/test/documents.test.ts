import { describe, expect, test } from 'vitest';
import {
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  blobPath,
  chainIds,
  detectManifestType,
  digestOf,
  imageLayers,
  parseDigest,
  parseImageConfig,
  parseImageIndex,
  parseImageLayout,
  parseImageManifest,
  parseLayoutIndex,
  parseManifestDocument,
  selectManifest,
  type Descriptor,
} from '../src/index.ts';

const digestA = parseDigest(`sha256:${'a'.repeat(64)}`);
const digestB = parseDigest(`sha256:${'b'.repeat(64)}`);
const bytesOf = (value: unknown) =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const as = (mediaType: string): Descriptor => ({ mediaType, digest: digestA, size: 1 });
const config = { mediaType: MEDIA_TYPES.ociConfig, digest: digestA, size: 2 };
const layer = { mediaType: MEDIA_TYPES.ociLayerGzip, digest: digestB, size: 3 };
const manifest = { schemaVersion: 2, config, layers: [layer] };

describe('manifests', () => {
  test.each([MEDIA_TYPES.ociManifest, MEDIA_TYPES.dockerManifest])(
    'reads %s and keeps unknown keys',
    (mediaType) => {
      const value = { ...manifest, mediaType, 'x-own': { deep: [1] }, annotations: { a: 'b' } };
      expect(parseImageManifest(bytesOf(value), as(mediaType))).toEqual(value);
    },
  );

  test('keeps the bytes it was read from', () => {
    const bytes = bytesOf(`  ${JSON.stringify(manifest)}\n`);
    const document = parseManifestDocument(bytes, as(MEDIA_TYPES.ociManifest));
    expect(document.bytes).toBe(bytes);
    expect(document.kind).toBe('manifest');
  });

  test('reads null as absent, as Go programs write it', () => {
    const parsed = parseImageManifest(
      bytesOf({ ...manifest, layers: null, annotations: null, subject: null }),
      as(MEDIA_TYPES.ociManifest),
    );
    expect(parsed.layers).toEqual([]);
    expect(parsed.annotations).toBeUndefined();
  });

  test.each([
    ['an index and a manifest in one', { ...manifest, manifests: [] }, /ambiguous/],
    ['an index with a config', { schemaVersion: 2, manifests: [], config }, /ambiguous/],
    ['an index with fsLayers', { schemaVersion: 2, manifests: [], fsLayers: [] }, /ambiguous/],
    ['keys that differ in case only', { ...manifest, Layers: [] }, /"Layers".*"layers"/],
    ['another media type inside', { ...manifest, mediaType: MEDIA_TYPES.ociIndex }, /calls itself/],
    [
      'a wrong digest',
      { ...manifest, layers: [{ ...layer, digest: 'sha256:xyz' }] },
      /\$\.layers\[0\]\.digest/,
    ],
    [
      'a path as digest',
      { ...manifest, config: { ...config, digest: 'sha256:../../x' } },
      /\$\.config\.digest/,
    ],
    ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, /\$\.layers\[0\]\.size/],
    [
      'a size beyond exact integers',
      { ...manifest, layers: [{ ...layer, size: 2 ** 60 }] },
      /\$\.layers\[0\]\.size/,
    ],
    ['no config', { schemaVersion: 2, layers: [] }, /\$\.config/],
    ['layers that are no list', { ...manifest, layers: {} }, /\$\.layers/],
    ['an array', [manifest], /not a JSON object/],
    ['null', null, /not a JSON object/],
    ['broken JSON', '{"schemaVersion":2', /not valid JSON/],
    ['schema version 3', { ...manifest, schemaVersion: 3 }, /\$\.schemaVersion/],
  ])('refuses %s', (_, value, message) => {
    expect(() => parseManifestDocument(bytesOf(value), as(MEDIA_TYPES.ociManifest))).toThrow(
      expect.objectContaining({ code: 'INVALID_DOCUMENT', message: expect.stringMatching(message) }),
    );
  });

  test('refuses bytes that are not UTF-8', () => {
    const bytes = bytesOf(JSON.stringify({ ...manifest, annotations: { a: 'X' } }));
    bytes[bytes.indexOf(0x58)] = 0xff;
    expect(() => parseImageManifest(bytes, as(MEDIA_TYPES.ociManifest))).toThrow(/UTF-8/);
  });

  test('names schema 1 as what it is', () => {
    const schema1 = { schemaVersion: 1, fsLayers: [], history: [] };
    for (const [value, mediaType] of [
      [schema1, MEDIA_TYPES.dockerManifestV1Signed],
      [schema1, MEDIA_TYPES.ociManifest],
      [{ schemaVersion: 2, fsLayers: [] }, MEDIA_TYPES.dockerManifest],
    ] as const) {
      expect(() => parseManifestDocument(bytesOf(value), as(mediaType))).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('schema 1') }),
      );
    }
  });

  test('refuses to parse what is neither manifest nor index', () => {
    expect(() => parseManifestDocument(bytesOf({}), as('text/plain'))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
    expect(() => parseImageIndex(bytesOf(manifest), as(MEDIA_TYPES.ociManifest))).toThrow(
      /not an image index/,
    );
  });

  test('reads no more than its limit', () => {
    expect(() =>
      parseImageManifest(new Uint8Array(MAX_DOCUMENT_BYTES + 1), as(MEDIA_TYPES.ociManifest)),
    ).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
  });

  test('names only the first few of a million mistakes', () => {
    const value = { ...manifest, layers: Array.from({ length: 10_000 }, () => 1) };
    let message = '';
    try {
      parseImageManifest(bytesOf(value), as(MEDIA_TYPES.ociManifest));
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toMatch(/and 9995 more$/);
    expect(message.length).toBeLessThan(1_000);
  });

  test('finds the type of a document without one', () => {
    expect(detectManifestType(bytesOf(manifest))).toBe(MEDIA_TYPES.ociManifest);
    expect(detectManifestType(bytesOf({ schemaVersion: 2, manifests: [] }))).toBe(MEDIA_TYPES.ociIndex);
    expect(detectManifestType(bytesOf({ ...manifest, mediaType: MEDIA_TYPES.dockerManifest }))).toBe(
      MEDIA_TYPES.dockerManifest,
    );
    expect(() => detectManifestType(bytesOf({}))).toThrow(/no mediaType/);
    expect(() => detectManifestType(bytesOf({ manifests: [], layers: [] }))).toThrow(/ambiguous/);
  });
});

describe('indexes', () => {
  const entry = (os: string, architecture: string, variant?: string, name = '') => ({
    mediaType: MEDIA_TYPES.ociManifest,
    digest: digestA,
    size: 1,
    annotations: { name: name || `${os}/${architecture}/${variant ?? ''}` },
    platform: { os, architecture, ...(variant && { variant }) },
  });
  const indexOf = (...manifests: unknown[]) =>
    parseImageIndex(bytesOf({ schemaVersion: 2, manifests }), as(MEDIA_TYPES.ociIndex));
  const amd64 = { os: 'linux', architecture: 'amd64' };

  test('picks the exact platform, else the nearest older variant', () => {
    const index = indexOf(
      entry('linux', 'arm', 'v5'),
      entry('linux', 'arm', 'v6'),
      entry('linux', 'arm64', 'v8'),
    );
    const picked = (architecture: string, variant?: string) =>
      selectManifest(index, { os: 'linux', architecture, ...(variant && { variant }) }).annotations?.['name'];
    expect(picked('arm64')).toBe('linux/arm64/v8');
    expect(picked('arm', 'v7')).toBe('linux/arm/v6');
    expect(picked('arm', 'v5')).toBe('linux/arm/v5');
  });

  test('picks the first among equals and never an attestation', () => {
    const index = indexOf(
      entry('unknown', 'unknown'),
      { ...entry('linux', 'amd64'), annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
      entry('linux', 'amd64', undefined, 'first'),
      entry('linux', 'amd64', undefined, 'second'),
    );
    expect(selectManifest(index, amd64).annotations?.['name']).toBe('first');
  });

  test('says what there is when nothing fits', () => {
    expect(() =>
      selectManifest(indexOf(entry('linux', 's390x'), entry('unknown', 'unknown')), amd64),
    ).toThrow(
      expect.objectContaining({
        code: 'NO_MATCHING_PLATFORM',
        message: 'no image for platform linux/amd64; there is linux/s390x',
      }),
    );
    expect(() => selectManifest(indexOf(), amd64)).toThrow(/there is none/);
  });

  test('takes the only image when it does not say its platform', () => {
    const plain = { mediaType: MEDIA_TYPES.ociManifest, digest: digestA, size: 1 };
    expect(selectManifest(indexOf(plain), amd64).digest).toBe(digestA);
    expect(() => selectManifest(indexOf(plain, plain), amd64)).toThrow();
  });

  test('reads an empty list written as null', () => {
    expect(indexOf().manifests).toEqual([]);
    expect(parseLayoutIndex(bytesOf({ schemaVersion: 2, manifests: null })).manifests).toEqual([]);
  });
});

describe('image configs', () => {
  const minimal = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digestA] } };
  const parse = (value: unknown) => parseImageConfig(bytesOf(value), as(MEDIA_TYPES.ociConfig));

  test('reads the fields that Docker adds', () => {
    const value = {
      ...minimal,
      docker_version: '20.10.24',
      created: '2024-01-01T00:00:00Z',
      config: {
        Env: ['PATH=/bin', 'EMPTY='],
        Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000, Retries: 3, StartInterval: 5 },
        OnBuild: ['RUN make'],
        Shell: ['/bin/bash', '-c'],
        StopTimeout: 10,
        ArgsEscaped: true,
        ExposedPorts: { '80/tcp': {} },
        Volumes: { '/data': {} },
        Labels: { a: 'b' },
        Own: 'kept',
      },
      history: [{ created_by: 'make', empty_layer: true }],
    };
    expect(parse(value)).toEqual(value);
  });

  test('reads null as absent in every field where real images have it', () => {
    const nulls = Object.fromEntries(
      'Env Entrypoint Cmd Volumes Labels ExposedPorts OnBuild Shell Healthcheck StopTimeout'
        .split(' ')
        .map((key) => [key, null]),
    );
    const parsed = parse({ ...minimal, config: nulls, history: null, created: null, container_config: null });
    expect(Object.values(parsed.config ?? { missing: 1 }).every((value) => value === undefined)).toBe(true);
    expect(parsed.history).toBeUndefined();
    expect(parse({ ...minimal, config: null }).config).toBeUndefined();
  });

  test('reads a command that is one string', () => {
    expect(parse({ ...minimal, config: { Cmd: 'top', Entrypoint: '/init' } }).config).toMatchObject({
      Cmd: ['top'],
      Entrypoint: ['/init'],
    });
  });

  test('reads a missing platform of old builders as empty', () => {
    expect(parse({ rootfs: minimal.rootfs })).toMatchObject({ os: '', architecture: '' });
  });

  test.each([
    [{ ...minimal, rootfs: { type: 'layers', diff_ids: ['sha256:x'] } }, /\$\.rootfs\.diff_ids\[0\]/],
    [{ ...minimal, rootfs: { type: 'other', diff_ids: [] } }, /\$\.rootfs\.type/],
    [{ ...minimal, config: { Env: 'A=b' } }, /\$\.config\.Env/],
    [{ architecture: 'amd64', os: 'linux' }, /\$\.rootfs/],
  ])('refuses %j', (value, message) => {
    expect(() => parse(value)).toThrow(message);
  });

  test('computes chain ids as the spec says', async () => {
    const digestC = parseDigest(`sha256:${'c'.repeat(64)}`);
    const second = await digestOf(bytesOf(`${digestA} ${digestB}`));
    expect(await chainIds([digestA, digestB, digestC])).toEqual([
      digestA,
      second,
      await digestOf(bytesOf(`${second} ${digestC}`)),
    ]);
    expect(await chainIds([])).toEqual([]);
  });

  test('pairs layers with diffIDs, and refuses when their numbers differ', async () => {
    const image = parseImageManifest(bytesOf(manifest), as(MEDIA_TYPES.ociManifest));
    expect(await imageLayers(image, parse(minimal))).toEqual([
      { descriptor: layer, diffId: digestA, chainId: digestA },
    ]);
    const two = parse({ ...minimal, rootfs: { type: 'layers', diff_ids: [digestA, digestB] } });
    await expect(imageLayers(image, two)).rejects.toThrow(/1 layers, 2 diff_ids/);
  });
});

test('reads the marker of an image layout, and refuses another version', () => {
  expect(parseImageLayout(bytesOf({ imageLayoutVersion: '1.0.0' })).imageLayoutVersion).toBe('1.0.0');
  expect(() => parseImageLayout(bytesOf({ imageLayoutVersion: '2.0.0' }))).toThrow(/\$\.imageLayoutVersion/);
  expect(blobPath(digestA)).toBe(`blobs/sha256/${'a'.repeat(64)}`);
});
