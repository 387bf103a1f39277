/** Registries with the stock CLI: push, search, and looking at what is there. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MEDIA_TYPES } from '@tare/image-spec';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`registries${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test('a pushed image can be pulled again under its new name', async () => {
    const name = `${lab.registry}pushed/box:one`;
    await lab.ok(['tag', lab.busybox, name]);
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', name]);
    const pushed = await lab.ok(['push', name]);
    expect(pushed).toMatch(/^The push refers to repository \[.*\/pushed\/box\]\n/);
    expect(pushed).toMatch(/\n[0-9a-f]{12}: (Pushed|Mounted from busybox)\n/);
    const [, digest, size] = /\none: digest: (sha256:[0-9a-f]{64}) size: (\d+)$/.exec(pushed)!;
    expect(Number(size)).toBeGreaterThan(100);
    expect(await lab.ok(['inspect', '-f', '{{json .RepoDigests}}', name])).toContain(
      `${lab.registry}pushed/box@${digest}`,
    );

    await lab.ok(['rmi', name]);
    await lab.ok(['pull', '-q', name]);
    expect(await lab.ok(['inspect', '-f', '{{.Id}}', name])).toBe(id);
  });

  test('what the registry has is not sent again, and a quiet push prints the name alone', async () => {
    const name = `${lab.registry}pushed/box:two`;
    await lab.ok(['tag', lab.busybox, name]);
    await lab.ok(['push', '-q', name]);
    const again = await lab.ok(['push', name]);
    expect(again).toContain(': Layer already exists\n');
    expect(again).not.toContain(': Pushed');
    expect(await lab.ok(['push', '-q', name])).toBe(name);
  });

  test('what was committed is compressed when it is pushed, once, and keeps its id', async () => {
    const name = `${lab.registry}pushed/committed:one`;
    const script = 'head -c 1000000 /dev/zero > /zeros; echo made > /made';
    const blobs = async () => readdir(join(lab.dataRoot, 'layers/content/blobs/sha256'));
    const before = await blobs();
    await lab.ok(['run', '--name', 'maker', lab.busybox, 'sh', '-c', script]);
    const id = await lab.ok(['commit', 'maker', name]);
    const digest = /digest: (\S+) size/.exec(await lab.ok(['push', name]))![1]!;
    const manifest = (await (
      await fetch(`http://${lab.registry}v2/pushed/committed/manifests/one`, {
        headers: { accept: MEDIA_TYPES.ociManifest },
      })
    ).json()) as { layers: { mediaType: string; size: number }[] };
    expect(manifest.layers.map(({ mediaType }) => mediaType)).toEqual(
      manifest.layers.map(() => MEDIA_TYPES.ociLayerGzip),
    );
    expect(manifest.layers.at(-1)!.size).toBeLessThan(100_000);

    // what is put on it has its layers, as it was pushed
    await lab.ok(['commit', '-c', 'LABEL a=b', 'maker', `${lab.registry}pushed/committed:two`]);
    await lab.ok(['commit', 'maker', 'other']);
    await lab.ok(['tag', name, `${lab.registry}pushed/committed:again`]);
    const again = await lab.ok(['push', `${lab.registry}pushed/committed:again`]);
    expect(again).toContain(`digest: ${digest} size`);
    expect(again).not.toContain(': Pushed');
    const two = await lab.ok(['push', `${lab.registry}pushed/committed:two`]);
    expect(two).not.toContain(': Pushed');

    await lab.ok(['rm', 'maker']);
    await lab.ok(['rmi', name, `${lab.registry}pushed/committed:again`]);
    await lab.ok(['rmi', `${lab.registry}pushed/committed:two`, 'other']);
    expect(await blobs()).toEqual(before);
    await lab.ok(['pull', '-q', name]);
    expect(await lab.ok(['inspect', '-f', '{{.Id}}', name])).toBe(id);
    expect(await lab.ok(['run', '--rm', name, 'cat', '/made'])).toBe('made');
    await lab.ok(['rmi', name]);
  });

  test('--all-tags pushes every tag of the repository', async () => {
    const repository = `${lab.registry}pushed/many`;
    await lab.ok(['tag', lab.busybox, `${repository}:a`]);
    await lab.ok(['tag', `${lab.registry}configured`, `${repository}:b`]);
    const pushed = await lab.ok(['push', '--all-tags', repository]);
    expect(pushed).toMatch(/\na: digest: sha256:/);
    expect(pushed).toMatch(/\nb: digest: sha256:/);
  });

  test("a name that is not here, and a registry that is not there, are told in dockerd's words", async () => {
    const absent = await lab.docker(['push', `${lab.registry}no/such:tag`]);
    expect(absent.code).toBe(1);
    expect(absent.stderr).toContain(`tag does not exist: ${lab.registry}no/such:tag`);
    const none = await lab.docker(['push', '-a', `${lab.registry}no/such`]);
    expect(none.stderr).toContain('An image does not exist locally with the tag:');
    await lab.ok(['tag', lab.busybox, '127.0.0.1:1/box:x']);
    const unreachable = await lab.docker(['push', '127.0.0.1:1/box:x']);
    expect(unreachable.code).toBe(1);
    expect(unreachable.stderr).toMatch(/127\.0\.0\.1:1/);
    await lab.ok(['rmi', '127.0.0.1:1/box:x']);
  });

  test('events tell of the push', async () => {
    const name = `${lab.registry}pushed/box:told`;
    await lab.ok(['tag', lab.busybox, name]);
    await lab.ok(['push', '-q', name]);
    const range = ['--since', '1m', '--until', '-1s'];
    const events = await lab.ok(['events', ...range, '-f', 'event=push', '--format', '{{.Actor.ID}}']);
    // the stream ends a second ago: the name may be too young, its elders are not
    expect(events).toContain(`${lab.registry}pushed/`);
  });

  test('search finds repositories of a registry by part of their names', async () => {
    const found = await lab.ok(['search', '--format', '{{.Name}} {{.StarCount}}', `${lab.registry}config`]);
    expect(found).toBe(`${lab.registry}configured 0`);
    const starred = await lab.ok(['search', '-f', 'stars=1', `${lab.registry}config`]);
    expect(starred.split('\n')).toEqual([expect.stringMatching(/^NAME +DESCRIPTION +STARS +OFFICIAL$/)]);
    expect((await lab.docker(['search', '--limit', '101', `${lab.registry}x`])).stderr).toContain(
      'outside the range of [1, 100]',
    );
  });

  test('distribution inspect gives descriptor and platforms without a pull', async () => {
    const reply = await lab.api('GET', `/v1.51/distribution/${lab.registry}library/hub-image/json`);
    expect(reply.status).toBe(200);
    expect(reply.json()).toEqual({
      Descriptor: {
        mediaType: expect.stringMatching(/manifest/),
        digest: expect.stringMatching(/^sha256:/),
        size: expect.any(Number),
      },
      Platforms: [{ os: 'linux', architecture: expect.any(String) }],
    });
    const absent = await lab.api('GET', `/distribution/${lab.registry}no/such/json`);
    expect(absent.status).toBe(404);
    expect(absent.json()).toEqual({ message: expect.stringMatching(/unknown/) });
  });
});
