import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startRegistry, type RunningRegistry } from '../src/index.ts';

let root: string;
let registry: RunningRegistry;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-registry-'));
  registry = await startRegistry({ root });
});

afterEach(async () => {
  await registry.close();
  await rm(root, { recursive: true, force: true });
});

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const api = (path: string, init?: RequestInit) => fetch(new URL(`/v2/${path}`, registry.url), init);

async function begin(name = 'app'): Promise<URL> {
  const response = await api(`${name}/blobs/uploads/`, { method: 'POST' });
  expect(response.status).toBe(202);
  return new URL(response.headers.get('location')!, registry.url);
}

async function pushBlob(text: string, name = 'app'): Promise<string> {
  const url = await begin(name);
  url.searchParams.set('digest', digestOf(text));
  const response = await fetch(url, { method: 'PUT', body: text });
  expect(response.status).toBe(201);
  return digestOf(text);
}

async function pushManifest(tag: string, name = 'app'): Promise<string> {
  const digest = await pushBlob('{}', name);
  const descriptor = (mediaType: string) => ({ mediaType, digest, size: 2 });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json'),
    layers: [descriptor('application/vnd.oci.image.layer.v1.tar')],
    annotations: { tag },
  });
  const response = await putManifest(tag, manifest, name);
  expect(response.status).toBe(201);
  return response.headers.get('docker-content-digest')!;
}

function putManifest(
  reference: string,
  body: string,
  name = 'app',
  type = 'application/vnd.oci.image.manifest.v1+json',
) {
  return api(`${name}/manifests/${reference}`, { method: 'PUT', body, headers: { 'content-type': type } });
}

async function errorOf(response: Response): Promise<string> {
  const body = (await response.json()) as { errors: { code: string }[] };
  return `${response.status} ${body.errors[0]!.code}`;
}

describe('blobs', () => {
  test('are pushed in one request and read back', async () => {
    const digest = await pushBlob('hello');
    const response = await api(`app/blobs/${digest}`);
    expect(response.headers.get('docker-content-digest')).toBe(digest);
    expect(await response.text()).toBe('hello');
    const head = await api(`app/blobs/${digest}`, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, '5']);
  });

  test('are pushed by a single POST', async () => {
    const response = await api(`app/blobs/uploads/?digest=${digestOf('one')}`, {
      method: 'POST',
      body: 'one',
    });
    expect(response.status).toBe(201);
    expect(await (await api(`app/blobs/${digestOf('one')}`)).text()).toBe('one');
  });

  test('are pushed in chunks, with the status between', async () => {
    const url = await begin();
    const chunk = (text: string, start: number) =>
      fetch(url, {
        method: 'PATCH',
        body: text,
        headers: { 'content-range': `${start}-${start + text.length - 1}` },
      });
    expect((await chunk('hello ', 0)).headers.get('range')).toBe('0-5');
    const outOfOrder = await chunk('x', 3);
    expect([outOfOrder.status, outOfOrder.headers.get('range')]).toEqual([416, '0-5']);
    const status = await fetch(url);
    expect([status.status, status.headers.get('range')]).toEqual([204, '0-5']);
    expect((await chunk('wor', 6)).status).toBe(202);
    url.searchParams.set('digest', digestOf('hello world'));
    expect((await fetch(url, { method: 'PUT', body: 'ld' })).status).toBe(201);
    expect(await (await api(`app/blobs/${digestOf('hello world')}`)).text()).toBe('hello world');
    expect(await readdir(join(root, 'uploads'))).toEqual([]);
  });

  test('are refused when the digest is wrong, and the upload can be tried again', async () => {
    const url = await begin();
    url.searchParams.set('digest', digestOf('right'));
    expect(await errorOf(await fetch(url, { method: 'PUT', body: 'wrong' }))).toBe('400 DIGEST_INVALID');
    expect((await api(`app/blobs/${digestOf('right')}`)).status).toBe(404);
    expect((await fetch(url, { method: 'PUT', body: 'right' })).status).toBe(201);
  });

  test('that were pushed to one repository are not in another, but can be mounted there', async () => {
    const digest = await pushBlob('shared', 'a/b');
    expect(await errorOf(await api(`c/blobs/${digest}`))).toBe('404 BLOB_UNKNOWN');
    const mounted = await api(`c/blobs/uploads/?mount=${digest}&from=a/b`, { method: 'POST' });
    expect([mounted.status, mounted.headers.get('location')]).toEqual([201, `/v2/c/blobs/${digest}`]);
    expect(await (await api(`c/blobs/${digest}`)).text()).toBe('shared');
    const unknown = await api(`c/blobs/uploads/?mount=${digestOf('no')}&from=a/b`, { method: 'POST' });
    expect(unknown.status).toBe(202);
  });

  test('outlive their deletion in another repository', async () => {
    const digest = await pushBlob('shared', 'a');
    await pushBlob('shared', 'b');
    expect((await api(`a/blobs/${digest}`, { method: 'DELETE' })).status).toBe(202);
    expect((await api(`a/blobs/${digest}`)).status).toBe(404);
    expect(await (await api(`b/blobs/${digest}`)).text()).toBe('shared');
    await api(`b/blobs/${digest}`, { method: 'DELETE' });
    expect(await readdir(join(root, 'content', 'blobs', 'sha256'))).toEqual([]);
  });

  test.each([
    ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
    ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=5-100', 206, '56789', 'bytes 5-9/10'],
    ['bytes=0-1,3-4', 200, '0123456789', null],
    ['lines=1-2', 200, '0123456789', null],
  ])('are read in part: %s', async (range, status, text, contentRange) => {
    const digest = await pushBlob('0123456789');
    const response = await api(`app/blobs/${digest}`, { headers: { range } });
    expect([response.status, await response.text(), response.headers.get('content-range')]).toEqual([
      status,
      text,
      contentRange,
    ]);
  });

  test('refuse a range outside of them', async () => {
    const digest = await pushBlob('0123456789');
    const response = await api(`app/blobs/${digest}`, { headers: { range: 'bytes=10-' } });
    expect([response.status, response.headers.get('content-range')]).toEqual([416, 'bytes */10']);
  });

  test('whose upload is cancelled or unknown cannot be finished', async () => {
    const url = await begin();
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(204);
    expect(await errorOf(await fetch(url, { method: 'PATCH', body: 'x' }))).toBe('404 BLOB_UPLOAD_UNKNOWN');
  });

  test('whose sender goes away keep what came, and go on from there', async () => {
    const url = await begin();
    const { port, pathname } = url;
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(`PATCH ${pathname} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\npartial`);
    const received = async () => (await fetch(url)).headers.get('range');
    await expect.poll(async () => (await readdir(join(root, 'uploads'))).length).toBe(2);
    socket.destroy();
    await expect.poll(received).toBe('0-6');
    const rest = (range: string) =>
      fetch(url, { method: 'PATCH', body: ' whole', headers: { 'content-range': range } });
    expect((await rest('0-5')).status).toBe(416);
    expect((await rest('7-12')).headers.get('range')).toBe('0-12');
    const digest = digestOf('partial whole');
    expect((await fetch(`${url.href}?digest=${digest}`, { method: 'PUT' })).status).toBe(201);
    expect(await (await api(`app/blobs/${digest}`)).text()).toBe('partial whole');
    expect(await readdir(join(root, 'uploads'))).toEqual([]);
  });
});

describe('manifests', () => {
  test('are pushed by tag and read by tag and digest, byte for byte', async () => {
    const digest = await pushManifest('v1', 'team/app');
    for (const reference of ['v1', digest]) {
      const response = await api(`team/app/manifests/${reference}`);
      const text = await response.text();
      expect(digestOf(text)).toBe(digest);
      expect(response.headers.get('content-type')).toBe('application/vnd.oci.image.manifest.v1+json');
      const head = await api(`team/app/manifests/${reference}`, { method: 'HEAD' });
      expect([head.headers.get('docker-content-digest'), head.headers.get('content-length')]).toEqual([
        digest,
        String(text.length),
      ]);
    }
  });

  test('survive a restart, as do tags and blobs', async () => {
    const digest = await pushManifest('v1', 'team/app');
    await registry.close();
    registry = await startRegistry({ root });
    expect((await api('team/app/manifests/v1')).headers.get('docker-content-digest')).toBe(digest);
    expect((await api(`team/app/blobs/${digestOf('{}')}`)).status).toBe(200);
  });

  test('are forgotten with their tags when deleted by digest, and lose one tag when deleted by tag', async () => {
    const digest = await pushManifest('v1');
    const text = await (await api('app/manifests/v1')).text();
    await putManifest('v2', text);
    expect((await api('app/manifests/v1', { method: 'DELETE' })).status).toBe(202);
    expect(await errorOf(await api('app/manifests/v1'))).toBe('404 MANIFEST_UNKNOWN');
    expect((await api('app/manifests/v2')).status).toBe(200);
    expect((await api(`app/manifests/${digest}`, { method: 'DELETE' })).status).toBe(202);
    expect((await api('app/manifests/v2')).status).toBe(404);
    expect(await errorOf(await api(`app/manifests/${digest}`, { method: 'DELETE' }))).toBe(
      '404 MANIFEST_UNKNOWN',
    );
  });

  test.each([
    ['that are not JSON', '{', '400 MANIFEST_INVALID'],
    ['of schema 1', '{"schemaVersion":1,"fsLayers":[]}', '400 MANIFEST_INVALID'],
    ['that are an index as well', '{"schemaVersion":2,"manifests":[],"layers":[]}', '400 MANIFEST_INVALID'],
    [
      'whose config is not here',
      `{"schemaVersion":2,"config":{"mediaType":"a","size":1,"digest":"${digestOf('x')}"},"layers":[]}`,
      '404 MANIFEST_BLOB_UNKNOWN',
    ],
    ['that are too large', `{"x":"${'x'.repeat(4 * 1024 * 1024)}"}`, '400 MANIFEST_INVALID'],
  ])('%s are refused', async (_, body, error) => {
    expect(await errorOf(await putManifest('v1', body))).toBe(error);
    expect((await api('app/manifests/v1')).status).toBe(404);
  });

  test('under a digest that is not theirs, or a bad reference, are refused', async () => {
    const manifest = '{"schemaVersion":2,"manifests":[]}';
    const type = 'application/vnd.oci.image.index.v1+json';
    expect(await errorOf(await putManifest(digestOf('other'), manifest, 'app', type))).toBe(
      '400 DIGEST_INVALID',
    );
    expect(await errorOf(await putManifest('sha256:..', manifest, 'app', type))).toBe('400 DIGEST_INVALID');
    expect((await putManifest(digestOf(manifest), manifest, 'app', type)).status).toBe(201);
  });
});

describe('lists', () => {
  test('of tags are sorted and come in pages', async () => {
    for (const tag of ['v3', 'v1', 'v2']) await pushManifest(tag);
    expect(await (await api('app/tags/list')).json()).toEqual({ name: 'app', tags: ['v1', 'v2', 'v3'] });
    const first = await api('app/tags/list?n=2');
    expect(await first.json()).toEqual({ name: 'app', tags: ['v1', 'v2'] });
    expect(first.headers.get('link')).toBe('</v2/app/tags/list?n=2&last=v2>; rel="next"');
    const second = await api('app/tags/list?n=2&last=v2');
    expect(await second.json()).toEqual({ name: 'app', tags: ['v3'] });
    expect(second.headers.get('link')).toBeNull();
    expect(await errorOf(await api('none/tags/list'))).toBe('404 NAME_UNKNOWN');
  });

  test('of repositories hold those that hold something', async () => {
    await pushBlob('x', 'b/c');
    await pushBlob('x', 'a');
    expect(await (await api('_catalog')).json()).toEqual({ repositories: ['a', 'b/c'] });
  });
});

describe('the server', () => {
  test('answers the version check, and what it does not offer with an error', async () => {
    for (const response of [await api(''), await fetch(`${registry.url}/v2`)]) {
      expect([response.status, response.headers.get('docker-distribution-api-version')]).toEqual([
        200,
        'registry/2.0',
      ]);
    }
    expect(await errorOf(await api('app/what/is/this'))).toBe('405 UNSUPPORTED');
    expect(await errorOf(await fetch(registry.url))).toBe('405 UNSUPPORTED');
  });

  test.each([
    '../../etc/manifests/passwd',
    'a/../../../x/manifests/v1',
    'UPPER/manifests/v1',
    '_catalog/tags/list',
  ])('lets no name reach outside: %s', async (path) => {
    const socket = connect(Number(new URL(registry.url).port), '127.0.0.1');
    socket.end(`PUT /v2/${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`);
    const answer = (await Array.fromAsync(socket as AsyncIterable<Buffer>)).join('');
    expect(answer).toMatch(/^HTTP\/1.1 4\d\d /);
    expect((await readdir(root)).sort()).toEqual(['content', 'lock', 'repositories', 'uploads']);
    expect(await readdir(join(root, 'repositories'))).toEqual([]);
  });

  test('refuses to start over a damaged record, and names it', async () => {
    await pushBlob('x');
    await registry.close();
    const record = join(root, 'repositories', 'app', '_repository.json');
    await writeFile(record, (await readFile(record, 'utf8')).slice(0, -5));
    await expect(startRegistry({ root })).rejects.toThrow(record);
  });

  test('closes when its signal says so, twice without harm', async () => {
    const controller = new AbortController();
    const other = await mkdtemp(join(tmpdir(), 'tare-registry-'));
    const second = await startRegistry({ root: other, signal: controller.signal });
    controller.abort();
    await second.close();
    await expect(fetch(second.url)).rejects.toThrow();
    await rm(other, { recursive: true });
  });
});
