/** The registry is killed at any moment: what it acknowledged is there afterwards, whole, and uploads go on. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MEDIA_TYPES, parseDigest, type Descriptor } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { RegistryClient } from '@tare/registry-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually, startServer, type Server } from '../../../test/lab/process.ts';
import { freePort } from '../../../test/lab/registry.ts';
import { startRegistry } from '../src/index.ts';

let root: string;
let running: Server | undefined;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-registry-crash-'));
});
afterEach(async () => {
  await running?.stop('SIGKILL');
  await rm(root, { recursive: true, force: true });
});

const MAIN = join(import.meta.dirname, '..', 'src', 'main.ts');
const ROUNDS = process.env['TARE_TEST_FULL'] ? 40 : 4;

async function start(port: number): Promise<Server> {
  const args = ['--conditions=@tare/source', MAIN, '--root', root, '--port', String(port)];
  const ready = (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${port}/v2/`).then(
      (response) => response.ok,
      () => false,
    );
  return (running = await startServer(process.execPath, args, { ready }));
}

async function put(store: MemoryContent, mediaType: string, content: Buffer | object): Promise<Descriptor> {
  const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
  const descriptor = { mediaType, digest, size: bytes.byteLength };
  await store.push(descriptor, (async function* () { yield bytes; })()); // prettier-ignore
  return descriptor;
}

async function randomImage(store: MemoryContent): Promise<Descriptor> {
  const layers = await Promise.all(
    [10, 300_000].map((size) => put(store, MEDIA_TYPES.ociLayer, randomBytes(size))),
  );
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
  const config = await put(store, MEDIA_TYPES.ociConfig, { architecture: 'amd64', os: 'linux', rootfs });
  return put(store, MEDIA_TYPES.ociManifest, { schemaVersion: 2, config, layers });
}

test(
  'keeps all that it acknowledged, and nothing that belongs to no repository, when it is killed',
  async () => {
    const port = await freePort();
    const store = new MemoryContent();
    const kept: { tag: string; image: Descriptor }[] = [];
    let seen = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const server = await start(port);
      await using client = new RegistryClient({ retry: { attempts: 1 } });
      const repository = client.repository(`127.0.0.1:${port}/app`);
      for (const [at, { tag, image }] of kept.entries()) {
        expect(await repository.resolve(tag)).toEqual(image);
        // whole again only what was pushed when it was killed last
        if (at >= seen) await copyGraph(repository, new MemoryContent(), image);
      }
      seen = kept.length;
      const killed = new AbortController();
      const before = kept.length;
      const pushing = Array.from({ length: 3 }, async (_, worker) => {
        for (let i = 0; !killed.signal.aborted; i++) {
          const image = await randomImage(store);
          const tag = `r${round}-${worker}-${i}`;
          try {
            await copyGraph(store, repository, image);
            await repository.tag(image, tag);
            kept.push({ tag, image });
          } catch {
            // it was killed in between: then nothing was promised
            return;
          }
        }
      });
      await eventually('something is pushed', async () => kept.length > before || undefined, 30_000);
      await sleep(Math.random() * 300);
      await server.stop('SIGKILL');
      killed.abort();
      await Promise.all(pushing);
    }
    expect(kept.length).toBeGreaterThan(0);
    await using registry = await startRegistry({ root });
    await using client = new RegistryClient();
    const repository = client.repository(`${new URL(registry.url).host}/app`);
    for (const { tag, image } of kept) expect(await repository.resolve(tag)).toEqual(image);
    // no half-written file is left
    const files = (await readdir(join(root, 'repositories'), { recursive: true })).filter((name) =>
      name.includes('.json.'),
    );
    expect(files).toEqual([]);
    expect(await readdir(join(root, 'content', 'ingest'))).toEqual([]);
  },
  ROUNDS * 15_000,
);

test('an upload goes on after the registry was killed in the middle of a chunk', async () => {
  const port = await freePort();
  const server = await start(port);
  const body = randomBytes(400_000);
  const opened = await fetch(`http://127.0.0.1:${port}/v2/app/blobs/uploads/`, { method: 'POST' });
  const url = new URL(opened.headers.get('location')!, opened.url);
  const chunk = await fetch(url, { method: 'PATCH', body: body.subarray(0, 100_000), headers: { 'content-range': '0-99999' } }); // prettier-ignore
  expect(chunk.status).toBe(202);
  // the next one does not arrive whole
  const socket = connect(port, '127.0.0.1');
  // it will be reset
  socket.on('error', () => {});
  socket.write(
    `PATCH ${url.pathname} HTTP/1.1\r\nhost: x\r\ncontent-range: 100000-399999\r\ncontent-length: 300000\r\n\r\n`,
  );
  socket.write(body.subarray(100_000, 150_000));
  await sleep(300);
  await server.stop('SIGKILL');
  socket.destroy();

  await using again = await start(port);
  const status = await fetch(url);
  expect(status.status).toBe(204);
  const received = Number(/^0-(\d+)$/.exec(status.headers.get('range')!)![1]) + 1;
  expect(received).toBeGreaterThanOrEqual(100_000);
  expect(received).toBeLessThanOrEqual(150_000);
  const rest = await fetch(url, { method: 'PATCH', body: body.subarray(received), headers: { 'content-range': `${received}-399999` } }); // prettier-ignore
  expect(rest.status).toBe(202);
  const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
  expect((await fetch(`${url.href}?digest=${digest}`, { method: 'PUT' })).status).toBe(201);
  const got = await fetch(`http://127.0.0.1:${port}/v2/app/blobs/${digest}`);
  expect(Buffer.from(await got.arrayBuffer()).equals(body)).toBe(true);
  expect(again.child.exitCode).toBeNull();
}, 60_000);

test('a directory is one registry’s at a time, also after a crash', async () => {
  {
    await using _registry = await startRegistry({ root });
    await expect(startRegistry({ root })).rejects.toThrow(/in use by the process/);
  }
  const port = await freePort();
  const server = await start(port);
  await expect(startRegistry({ root })).rejects.toThrow(`${server.child.pid}`);
  await server.stop('SIGKILL');
  await using registry = await startRegistry({ root });
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
  // a port that is taken does not keep the directory
  const other = join(root, 'other');
  const taken = Number(new URL(registry.url).port);
  await expect(startRegistry({ root: other, port: taken })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await (await startRegistry({ root: other })).close();
}, 60_000);
