/** The registry with clients that others wrote: skopeo, and the stock docker CLI on the engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { RegistryClient } from '@tare/registry-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageTools } from '../../../test/lab/image-tools.ts';
import { pushImage } from '../../../test/lab/images.ts';
import { missingForEndToEnd, startLab, type Lab } from '../../engine/test/e2e/lab.ts';
import { startRegistry, type RunningRegistry } from '../src/index.ts';

const { skopeo } = await imageTools();
const missing = missingForEndToEnd();

let root: string;
let registry: RunningRegistry;
let host: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-clients-'));
  registry = await startRegistry({ root: join(root, 'registry') });
  ({ host } = new URL(registry.url));
});
afterAll(async () => {
  await registry.close();
  await rm(root, { recursive: true, force: true });
});

const PLAIN = ['--src-tls-verify=false', '--dest-tls-verify=false'];

test.skipIf(skopeo === undefined)(
  'skopeo copies to it and from it, lists, inspects and deletes',
  async () => {
    await using client = new RegistryClient();
    const store = new MemoryContent();
    const image = await pushImage(store, 'v1', {
      layers: [[{ path: 'a', content: 'x'.repeat(100_000) }], [{ path: 'b' }]],
    });
    const repository = client.repository(`${host}/given`);
    await copyGraph(store, repository, image);
    await repository.tag(image, 'v1');

    const ask = skopeo!;
    await ask(
      'copy',
      ...PLAIN,
      '--preserve-digests',
      `docker://${host}/given:v1`,
      `docker://${host}/taken/deep:v2`,
    );
    expect(await client.repository(`${host}/taken/deep:v2`).resolve()).toEqual(image);
    await ask('copy', ...PLAIN, '--preserve-digests', `docker://${host}/given:v1`, `dir:${root}/dir`);
    await ask('copy', ...PLAIN, '--preserve-digests', `dir:${root}/dir`, `docker://${host}/again:latest`);
    expect(await client.repository(`${host}/again`).resolve()).toEqual(image);
    // another form of the image, with a digest of its own
    await ask('copy', ...PLAIN, '--format', 'oci', `docker://${host}/given:v1`, `docker://${host}/oci:v1`);
    const oci = await client.repository(`${host}/oci:v1`).resolve();
    expect(oci.mediaType).toBe('application/vnd.oci.image.manifest.v1+json');
    await copyGraph(client.repository(`${host}/oci`), new MemoryContent(), oci);

    expect(
      JSON.parse(await ask('list-tags', '--tls-verify=false', `docker://${host}/taken/deep`)).Tags,
    ).toEqual(['v2']);
    expect(JSON.parse(await ask('inspect', '--tls-verify=false', `docker://${host}/oci:v1`)).Digest).toBe(
      oci.digest,
    );
    await ask('delete', '--tls-verify=false', `docker://${host}/oci:v1`);
    await expect(client.repository(`${host}/oci:v1`).resolve()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  },
  60_000,
);

describe.skipIf(missing !== undefined)(`docker${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('pushes to it, pulls from it, and mounts what it has', async () => {
    await lab.ok(['pull', '-q', lab.busybox]);
    const id = await lab.ok(['image', 'inspect', '-f', '{{.Id}}', lab.busybox]);
    for (const name of ['busybox:v1', 'team/busybox:v2']) {
      await lab.ok(['tag', lab.busybox, `${host}/${name}`]);
      const said = await lab.ok(['push', `${host}/${name}`]);
      expect(said).toContain(name === 'busybox:v1' ? 'Pushed' : 'Mounted from busybox');
    }
    await lab.ok(['rmi', '-f', `${host}/busybox:v1`, `${host}/team/busybox:v2`, lab.busybox]);
    expect(await lab.ok(['run', '--rm', `${host}/team/busybox:v2`, 'echo', 'hello'])).toBe('hello');
    expect(await lab.ok(['image', 'inspect', '-f', '{{.Id}}', `${host}/team/busybox:v2`])).toBe(id);
    expect((await lab.docker(['pull', `${host}/nothing`])).stderr).toMatch(/not found|does not exist/);
  }, 60_000);
});
