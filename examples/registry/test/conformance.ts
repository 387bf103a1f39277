/**
 * What a registry must do, in the four categories of the distribution specification, asked over plain HTTP.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/conformance/README.md
 */
import { createHash, randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

/** What a registry may lack, or do in its own way. */
export type Feature =
  /** Lists referrers. */
  | 'referrers'
  /** Deletes tags without their manifests. */
  | 'untag'
  /** Answers to a mount without a source. */
  | 'discovery'
  /** Knows content by sha512. */
  | 'sha512'
  /**
   * Keeps to the letter where version 2 of the reference implementation does not: the order of chunks and of tags, pages of
   * tags, ranges of types in Accept.
   */
  | 'exact';

/** The registry that is asked. */
export interface Subject {
  /** With scheme. */
  url: () => string;
  /** What it does not claim to have, each with what there is in its place. */
  lacks: Partial<Record<Feature, string>>;
}

/** A document of the registry's answer. */
interface Listed {
  errors?: { code: string }[];
  tags?: string[];
  manifests?: { digest: string; artifactType?: string; annotations?: object }[];
}

export function digestOf(bytes: string | Uint8Array, algorithm = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** Registers the tests of all categories. */
export function conformanceSuite(name: string, subject: Subject): void {
  const { lacks } = subject;
  /** A test of what a registry may lack: its name says why it is skipped. */
  const testOf = (feature: Feature, title: string, work: () => Promise<void>): void => {
    const reason = lacks[feature];
    test.skipIf(reason)(reason ? `${title} (skipped: ${reason})` : title, work);
  };
  const api = (path: string, init?: RequestInit) => fetch(new URL(`/v2/${path}`, subject.url()), init);
  const locationOf = (response: Response) => new URL(response.headers.get('location')!, subject.url());
  const json = async (response: Response) => (await response.json()) as Listed;
  const codeOf = async (response: Response) => (await json(response)).errors?.[0]?.code;
  const fresh = () => `conformance/${randomUUID()}`;

  async function begin(repository: string, query = ''): Promise<URL> {
    const response = await api(`${repository}/blobs/uploads/${query}`, { method: 'POST' });
    expect(response.status).toBe(202);
    return locationOf(response);
  }

  async function pushBlob(repository: string, body: string, algorithm?: string): Promise<string> {
    const digest = digestOf(body, algorithm);
    const url = await begin(repository, algorithm && `?digest-algorithm=${algorithm}`);
    url.searchParams.set('digest', digest);
    const headers = { 'content-type': 'application/octet-stream' };
    const response = await fetch(url, { method: 'PUT', body, headers });
    expect(response.status).toBe(201);
    if (lacks.exact === undefined) expect((await fetch(locationOf(response))).status).toBe(200);
    return digest;
  }

  function put(repository: string, reference: string, document: object, type = MANIFEST): Promise<Response> {
    const init = { method: 'PUT', headers: { 'content-type': type }, body: JSON.stringify(document) };
    return api(`${repository}/manifests/${reference}`, init);
  }

  async function manifestOf(
    repository: string,
    more: object = {},
  ): Promise<{ digest: string; size: number; document: object }> {
    const config = '{}';
    const layer = `layer ${randomUUID()}`;
    await pushBlob(repository, config);
    const document = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: CONFIG, digest: digestOf(config), size: 2 },
      layers: [{ mediaType: LAYER, digest: await pushBlob(repository, layer), size: layer.length }],
      ...more,
    };
    const text = JSON.stringify(document);
    return { digest: digestOf(text), size: text.length, document };
  }

  async function pushManifest(repository: string, reference?: string, more: object = {}) {
    const manifest = await manifestOf(repository, more);
    const response = await put(repository, reference ?? manifest.digest, manifest.document);
    expect(response.status).toBe(201);
    expect(locationOf(response).pathname).toContain(`/v2/${repository}/manifests/`);
    return { ...manifest, mediaType: MANIFEST, response };
  }

  describe(`${name}: pull`, () => {
    test('answers the version check', async () => {
      expect((await api('')).status).toBe(200);
    });

    test('gives a blob that is there, and 404 for one that is not, to GET and HEAD', async () => {
      const repository = fresh();
      const digest = await pushBlob(repository, 'a blob');
      for (const method of ['GET', 'HEAD']) {
        const found = await api(`${repository}/blobs/${digest}`, { method });
        expect([found.status, found.headers.get('content-length')]).toEqual([200, '6']);
        expect(await found.text()).toBe(method === 'GET' ? 'a blob' : '');
        expect(found.headers.get('docker-content-digest') ?? digest).toBe(digest);
        const missing = await api(`${repository}/blobs/${digestOf('nothing')}`, { method });
        expect(missing.status).toBe(404);
        if (method === 'GET') expect(await codeOf(missing)).toBe('BLOB_UNKNOWN');
      }
    });

    test.each([
      ['bytes=2-', 'blob', 'bytes 2-5/6'],
      ['bytes=0-0', 'a', 'bytes 0-0/6'],
      ['bytes=2-3', 'bl', 'bytes 2-3/6'],
      ['bytes=-2', 'ob', 'bytes 4-5/6'],
      ['bytes=4-100', 'ob', 'bytes 4-5/6'],
    ])('gives the range %s of a blob', async (range, text, given) => {
      const repository = fresh();
      const digest = await pushBlob(repository, 'a blob');
      const response = await api(`${repository}/blobs/${digest}`, { headers: { range } });
      expect([response.status, response.headers.get('content-range')]).toEqual([206, given]);
      expect(await response.text()).toBe(text);
    });

    test('refuses a range outside of a blob', async () => {
      const repository = fresh();
      const digest = await pushBlob(repository, 'a blob');
      const response = await api(`${repository}/blobs/${digest}`, { headers: { range: 'bytes=6-' } });
      expect(response.status).toBe(416);
    });

    test('gives a manifest by tag and digest, byte for byte, and 404 for what is not there', async () => {
      const repository = fresh();
      const { digest, size, document } = await pushManifest(repository, 'v1.0_x-Y');
      for (const reference of ['v1.0_x-Y', digest]) {
        const headers = { accept: MANIFEST };
        const head = await api(`${repository}/manifests/${reference}`, { method: 'HEAD', headers });
        const answered = ['content-type', 'content-length', 'docker-content-digest'].map((key) =>
          head.headers.get(key),
        );
        expect([head.status, ...answered]).toEqual([200, MANIFEST, String(size), digest]);
        const got = await api(`${repository}/manifests/${reference}`, { headers });
        expect(await got.text()).toBe(JSON.stringify(document));
      }
      for (const reference of ['missing', digestOf('nothing')]) {
        const missing = await api(`${repository}/manifests/${reference}`);
        expect([missing.status, await codeOf(missing)]).toEqual([404, 'MANIFEST_UNKNOWN']);
      }
      expect((await api(`${fresh()}/manifests/v1`)).status).toBe(404);
    });

    test('does not give a type that the client cannot read', async () => {
      const repository = fresh();
      await pushManifest(repository, 'v1');
      const docker = 'application/vnd.docker.distribution.manifest.v2+json';
      const refused = await api(`${repository}/manifests/v1`, { headers: { accept: docker } });
      expect(refused.status).toBe(404);
      const accepts = [`${docker};q=0.5, ${MANIFEST}`, `${INDEX},${MANIFEST}`];
      for (const accept of lacks.exact === undefined ? ['*/*', ...accepts] : accepts) {
        const given = await api(`${repository}/manifests/v1`, { headers: { accept } });
        expect([given.status, given.headers.get('content-type')]).toEqual([200, MANIFEST]);
      }
    });
  });

  describe(`${name}: push`, () => {
    test('takes a blob in one POST, or answers with an upload', async () => {
      const repository = fresh();
      const digest = digestOf('in one');
      const init = {
        method: 'POST',
        body: 'in one',
        headers: { 'content-type': 'application/octet-stream' },
      };
      const response = await api(`${repository}/blobs/uploads/?digest=${digest}`, init);
      expect([201, 202]).toContain(response.status);
      if (response.status === 202) {
        const url = locationOf(response);
        url.searchParams.set('digest', digest);
        expect((await fetch(url, { ...init, method: 'PUT' })).status).toBe(201);
      }
      expect(await (await api(`${repository}/blobs/${digest}`)).text()).toBe('in one');
    });

    test('takes a blob in chunks, tells what it has, and refuses chunks out of order', async () => {
      const repository = fresh();
      const chunk = async (url: URL, start: number, body: string) => {
        const range = `${start}-${start + body.length - 1}`;
        const headers = { 'content-type': 'application/octet-stream', 'content-range': range };
        return fetch(url, { method: 'PATCH', body, headers });
      };
      let url = await begin(repository);
      const first = await chunk(url, 0, 'first ');
      expect([first.status, first.headers.get('range')]).toEqual([202, '0-5']);
      url = locationOf(first);
      if (lacks.exact === undefined) expect((await chunk(url, 3, 'again')).status).toBe(416);
      const status = await fetch(url);
      expect([status.status, status.headers.get('range')]).toEqual([204, '0-5']);
      url = locationOf(status);
      const second = await chunk(url, 6, 'second');
      expect([second.status, second.headers.get('range')]).toEqual([202, '0-11']);
      url = locationOf(second);
      const digest = digestOf('first second');
      url.searchParams.set('digest', digest);
      const finished = await fetch(url, { method: 'PUT' });
      expect(finished.status).toBe(201);
      expect(await (await api(`${repository}/blobs/${digest}`)).text()).toBe('first second');
    });

    test('refuses a blob that is not its digest, and a digest that is none', async () => {
      const repository = fresh();
      for (const digest of [digestOf('else'), 'sha256:xyz', 'sha256:../../x']) {
        const url = await begin(repository);
        url.searchParams.set('digest', digest);
        const headers = { 'content-type': 'application/octet-stream' };
        const response = await fetch(url, { method: 'PUT', body: 'something', headers });
        expect([response.status, await codeOf(response)]).toEqual([400, 'DIGEST_INVALID']);
        if (digest.length === 71) expect((await api(`${repository}/blobs/${digest}`)).status).toBe(404);
      }
    });

    test('mounts a blob of another repository, or answers with an upload', async () => {
      const from = fresh();
      const digest = await pushBlob(from, `to be mounted ${from}`);
      const target = fresh();
      const mounted = await api(`${target}/blobs/uploads/?mount=${digest}&from=${from}`, { method: 'POST' });
      expect(mounted.status).toBe(201);
      expect((await api(`${target}/blobs/${digest}`)).status).toBe(200);
      const elsewhere = await api(`${target}/blobs/uploads/?mount=${digestOf('no')}&from=${from}`, {
        method: 'POST',
      });
      expect(elsewhere.status).toBe(202);
      expect(elsewhere.headers.get('location')).toBeTruthy();
      if (lacks.discovery !== undefined) return;
      const found = await api(`${fresh()}/blobs/uploads/?mount=${digest}`, { method: 'POST' });
      expect(found.status).toBe(201);
    });

    test('cancels an upload', async () => {
      const url = await begin(fresh());
      expect((await fetch(url, { method: 'DELETE' })).status).toBe(204);
      expect((await fetch(url)).status).toBe(404);
    });

    test('takes the longest of names', async () => {
      const repository = `conformance/${'a/'.repeat(100)}${'x'.repeat(40)}`;
      expect(repository.length).toBeGreaterThan(250);
      const { digest } = await pushManifest(repository, 'v'.repeat(128));
      for (const reference of ['v'.repeat(128), digest]) {
        const headers = { accept: MANIFEST };
        expect((await api(`${repository}/manifests/${reference}`, { headers })).status).toBe(200);
      }
      const longer = await api(`${repository}xxxxx/blobs/uploads/`, { method: 'POST' });
      expect(longer.status).toBeGreaterThanOrEqual(400);
    });

    test('takes a manifest without layers, an index of what is there, and tells its digest', async () => {
      const repository = fresh();
      const empty = await pushManifest(repository, 'empty', { layers: [] });
      expect(empty.response.headers.get('docker-content-digest') ?? empty.digest).toBe(empty.digest);
      const { digest, size } = await pushManifest(repository);
      const document = {
        schemaVersion: 2,
        mediaType: INDEX,
        manifests: [{ mediaType: MANIFEST, digest, size }],
      };
      expect((await put(repository, 'all', document, INDEX)).status).toBe(201);
      const got = await api(`${repository}/manifests/all`, { headers: { accept: INDEX } });
      expect(got.headers.get('content-type')).toBe(INDEX);
    });

    test.each([
      ['is no JSON', '{'],
      ['lacks its layers', JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: { mediaType: CONFIG, digest: digestOf('gone'), size: 4 }, layers: [] })],
    ])('refuses a manifest that %s', async (_, body) => {
      const repository = fresh();
      await pushBlob(repository, 'so that it is known');
      const init = { method: 'PUT', headers: { 'content-type': MANIFEST }, body };
      const response = await api(`${repository}/manifests/v1`, init);
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(response.status).toBeLessThan(500);
      expect(['MANIFEST_INVALID', 'MANIFEST_BLOB_UNKNOWN']).toContain(await codeOf(response));
      expect((await api(`${repository}/manifests/v1`)).status).toBe(404);
    }); // prettier-ignore

    test('refuses a manifest under another digest', async () => {
      const repository = fresh();
      const { document } = await manifestOf(repository);
      const response = await put(repository, digestOf('another'), document);
      expect([response.status, await codeOf(response)]).toEqual([400, 'DIGEST_INVALID']);
    });

    testOf('sha512', 'takes content known by its sha512', async () => {
      const repository = fresh();
      const digest = await pushBlob(repository, 'long', 'sha512');
      const document = {
        schemaVersion: 2,
        config: { mediaType: CONFIG, digest, size: 4 },
        layers: [],
      };
      const own = digestOf(JSON.stringify(document), 'sha512');
      expect((await put(repository, own, document)).status).toBe(201);
      const got = await api(`${repository}/manifests/${own}`);
      expect([got.status, got.headers.get('docker-content-digest')]).toEqual([200, own]);
    });
  });

  describe(`${name}: content discovery`, () => {
    test('lists tags in lexical order, in pages when asked', async () => {
      const repository = fresh();
      const { document } = await manifestOf(repository);
      const tags = ['B', 'a', 'c', 'c.1', 'd'];
      for (const tag of tags.toReversed()) await put(repository, tag, document);
      const whole = await json(await api(`${repository}/tags/list`));
      expect(whole.tags!.toSorted()).toEqual(tags);
      if (lacks.exact !== undefined) return;
      expect(whole).toMatchObject({ name: repository, tags });
      const seen: string[] = [];
      let next: URL | undefined = new URL(`/v2/${repository}/tags/list?n=2`, subject.url());
      for (let pages = 0; next !== undefined; pages++) {
        expect(pages).toBeLessThan(4);
        const response: Response = await fetch(next);
        const page = await json(response);
        expect(page.tags!.length).toBeLessThanOrEqual(2);
        seen.push(...page.tags!);
        const [, link] = /<([^>]*)>;\s*rel="?next"?/.exec(response.headers.get('link') ?? '') ?? [];
        next = link === undefined ? undefined : new URL(link, next);
      }
      expect(seen).toEqual(tags);
      expect((await json(await api(`${repository}/tags/list?n=0`))).tags ?? []).toEqual([]);
      expect((await json(await api(`${repository}/tags/list?n=2&last=a`))).tags).toEqual(['c', 'c.1']);
      expect((await json(await api(`${repository}/tags/list?last=c`))).tags).toEqual(['c.1', 'd']);
      expect((await api(`${fresh()}/tags/list`)).status).toBe(404);
    });

    testOf('referrers', 'lists what refers to a manifest, whether that is there or not', async () => {
      const repository = fresh();
      const image = await manifestOf(repository);
      const about = { mediaType: MANIFEST, digest: image.digest, size: image.size };
      const list = async (query = '') => api(`${repository}/referrers/${image.digest}${query}`);
      const before = await list();
      expect([before.status, before.headers.get('content-type')]).toEqual([200, INDEX]);
      expect(await json(before)).toMatchObject({ schemaVersion: 2, mediaType: INDEX, manifests: [] });

      const signature = await pushManifest(repository, undefined, { subject: about, artifactType: 'a/signature', annotations: { by: 'ann' } }); // prettier-ignore
      expect(signature.response.headers.get('oci-subject')).toBe(image.digest);
      const bom = await pushManifest(repository, 'bom', { subject: about });
      const index = {
        schemaVersion: 2,
        mediaType: INDEX,
        manifests: [],
        subject: about,
        artifactType: 'a/index',
      };
      expect((await put(repository, 'index', index, INDEX)).status).toBe(201);
      await put(repository, 'image', image.document);

      const found = (await json(await list())).manifests!;
      expect(found.map(({ digest, artifactType }) => `${digest} ${artifactType}`).sort()).toEqual(
        [
          `${signature.digest} a/signature`,
          `${bom.digest} ${CONFIG}`,
          `${digestOf(JSON.stringify(index))} a/index`,
        ].sort(),
      );
      expect(found.find(({ digest }) => digest === signature.digest)!.annotations).toEqual({ by: 'ann' });
      const filtered = await list(`?artifactType=${encodeURIComponent('a/signature')}`);
      expect(filtered.headers.get('oci-filters-applied')).toBe('artifactType');
      expect((await json(filtered)).manifests!.map(({ digest }) => digest)).toEqual([signature.digest]);

      const seen: string[] = [];
      let next: URL | undefined = new URL(`/v2/${repository}/referrers/${image.digest}?n=2`, subject.url());
      while (next !== undefined) {
        const response: Response = await fetch(next);
        seen.push(...(await json(response)).manifests!.map(({ digest }) => digest));
        const [, link] = /<([^>]*)>;\s*rel="?next"?/.exec(response.headers.get('link') ?? '') ?? [];
        next = link === undefined ? undefined : new URL(link, next);
      }
      expect(seen.sort()).toEqual(found.map(({ digest }) => digest).sort());

      await api(`${repository}/manifests/${signature.digest}`, { method: 'DELETE' });
      expect((await json(await list())).manifests!.length).toBe(2);
      expect((await api(`${repository}/referrers/sha256:x`)).status).toBe(400);
    });
  });

  describe(`${name}: content management`, () => {
    test('deletes a manifest with its tags, and a blob', async () => {
      const repository = fresh();
      const { digest, document } = await pushManifest(repository, 'v1');
      await put(repository, 'v2', document);
      expect((await api(`${repository}/manifests/${digest}`, { method: 'DELETE' })).status).toBe(202);
      for (const reference of [digest, 'v1', 'v2']) {
        expect((await api(`${repository}/manifests/${reference}`)).status).toBe(404);
      }
      expect((await json(await api(`${repository}/tags/list`))).tags ?? []).toEqual([]);
      const blob = await pushBlob(repository, 'away');
      expect((await api(`${repository}/blobs/${blob}`, { method: 'DELETE' })).status).toBe(202);
      expect((await api(`${repository}/blobs/${blob}`)).status).toBe(404);
      expect((await api(`${repository}/blobs/${blob}`, { method: 'DELETE' })).status).toBe(404);
    });

    testOf('untag', 'deletes a tag and keeps its manifest', async () => {
      const repository = fresh();
      const { digest } = await pushManifest(repository, 'v1');
      expect((await api(`${repository}/manifests/v1`, { method: 'DELETE' })).status).toBe(202);
      expect((await api(`${repository}/manifests/v1`)).status).toBe(404);
      expect((await api(`${repository}/manifests/${digest}`)).status).toBe(200);
    });

    test('gives everything to many at once, and takes the same from many at once', async () => {
      const repository = fresh();
      const layer = 'x'.repeat(200_000);
      const digests = await Promise.all(Array.from({ length: 8 }, () => pushBlob(repository, layer)));
      expect(new Set(digests).size).toBe(1);
      const { document, digest } = await manifestOf(repository);
      const puts = await Promise.all(Array.from({ length: 8 }, (_, i) => put(repository, `v${i}`, document)));
      expect(puts.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 201));
      const gets = await Promise.all(
        Array.from({ length: 8 }, async () => (await api(`${repository}/blobs/${digests[0]}`)).text()),
      );
      expect(new Set(gets)).toEqual(new Set([layer]));
      expect((await json(await api(`${repository}/tags/list`))).tags!.length).toBe(8);
      const headers = { accept: MANIFEST };
      expect((await api(`${repository}/manifests/${digest}`, { headers })).status).toBe(200);
    });
  });
}
