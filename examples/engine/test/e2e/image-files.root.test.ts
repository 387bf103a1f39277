/** Images as files with the stock CLI: commit, save, load, import. */
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEDIA_TYPES, digestOf } from '@tare/image-spec';
import { MemoryContent } from '@tare/image-spec/content';
import { writeImageArchive } from '@tare/layer-store/archive';
import { TarBuilder } from '@tare/layer-store/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pushImage } from '../../../../test/lab/images.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`image files${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'image-files-'));
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  const at = (name: string): string => join(folder, name);
  const inspect = async (name: string, format: string): Promise<string> =>
    lab.ok(['image', 'inspect', '-f', format, name]);
  const run = (...args: string[]): Promise<string> => lab.ok(['run', '--rm', ...args]);

  test('a commit has what the container wrote, and its config with the changes asked for', async () => {
    const script = 'echo new > /made; rm /etc/group; chown 5:6 /srv';
    await lab.ok(['run', '--name', 'author', '-e', 'OWN=1', `${lab.registry}configured`, 'hi']);
    await lab.ok([
      'run',
      '--name',
      'work',
      '-u',
      '0',
      '--entrypoint',
      'sh',
      `${lab.registry}configured`,
      '-c',
      script,
    ]);
    const changes = [
      'ENTRYPOINT ["cat"]',
      'CMD ["/made"]',
      'ENV B="two words"',
      'ENV C=$B',
      'EXPOSE 80/tcp 90-91',
      'LABEL x=y',
      'WORKDIR /srv/sub',
      'HEALTHCHECK --interval=5s CMD true',
    ].flatMap((change) => ['-c', change]);
    const about = ['-a', 'Somebody', '-m', 'a message'];
    const id = await lab.ok(['commit', ...about, ...changes, 'work', 'mine:one']);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await run('mine:one')).toBe('new');
    expect(
      await run('--entrypoint', 'sh', 'mine:one', '-c', 'ls /etc; stat -c %u:%g /srv; pwd; env'),
    ).toMatch(/marker\npasswd\n[^]*5:6\n\/srv\/sub\n[^]*C=two words\n/);
    const [image] = JSON.parse(await lab.ok(['image', 'inspect', 'mine:one']));
    expect(image).toMatchObject({
      Id: id,
      Author: 'Somebody',
      Comment: 'a message',
      Config: {
        Entrypoint: ['cat'],
        Cmd: ['/made'],
        Env: ['B=two words', 'C=two words', 'A=1'],
        ExposedPorts: { '80/tcp': {}, '90/tcp': {}, '91/tcp': {} },
        Labels: { kind: 'test', x: 'y' },
        WorkingDir: '/srv/sub',
        Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 5_000_000_000 },
        User: '0',
      },
    });
    expect(image.RootFS.Layers).toHaveLength(3);
    const history = await lab.ok([
      'history',
      '--no-trunc',
      '--format',
      '{{.CreatedBy}}|{{.Comment}}',
      'mine:one',
    ]);
    expect(history.split('\n')[0]).toBe(`-c ${script}|a message`);
    await lab.ok(['rm', 'work', 'author']);
  });

  test('a container that changed nothing adds no layer', async () => {
    await lab.ok(['create', '--name', 'still', lab.busybox]);
    await lab.ok(['commit', 'still', 'same']);
    const layers = '{{json .RootFS.Layers}}';
    expect(await inspect('same', layers)).toBe(await inspect(lab.busybox, layers));
    expect(await run('same', 'echo', 'works')).toBe('works');
    await lab.ok(['rm', 'still']);
  });

  test('a container that runs is paused for it, and goes on', async () => {
    const script = 'i=0; while :; do i=$((i+1)); echo $i > /a; echo $i > /b; done';
    await lab.ok(['run', '-d', '--name', 'busy', lab.busybox, 'sh', '-c', script]);
    await lab.ok(['commit', 'busy', 'caught']);
    expect(await lab.ok(['inspect', '-f', '{{.State.Status}}', 'busy'])).toBe('running');
    const [a, b] = (await run('caught', 'cat', '/a', '/b')).split('\n').map(Number);
    // a file that is being written may be caught empty, but the two are never far apart
    expect(Math.abs((a || b || 0) - (b || a || 0))).toBeLessThanOrEqual(1);
    await lab.ok(['rm', '-f', 'busy']);
  });

  test('what cannot be committed is told, and names that are none are refused', async () => {
    expect((await lab.docker(['commit', 'nobody'])).stderr).toContain('No such container: nobody');
    await lab.ok(['create', '--name', 'plain', lab.busybox]);
    expect((await lab.docker(['commit', '-c', 'RUN true', 'plain'])).stderr).toContain(
      'run is not a valid change command',
    );
    expect((await lab.docker(['commit', '-c', 'ENVV a=b', 'plain'])).stderr).toContain(
      'unknown instruction: ENVV (did you mean ENV?)',
    );
    expect((await lab.docker(['commit', 'plain', 'UPPER'])).stderr).toContain('must be lowercase');
    await lab.ok(['rm', 'plain']);
  });

  test('what is saved can be loaded again, under the same names and digests', async () => {
    await lab.ok(['tag', lab.busybox, 'kept:one']);
    await lab.ok(['tag', `${lab.registry}configured`, 'kept:two']);
    const ids = [await inspect('kept:one', '{{.Id}}'), await inspect('kept:two', '{{.Id}}')];
    await lab.ok(['save', '-o', at('kept.tar'), 'kept:one', 'kept:two']);
    const names = execFileSync('tar', ['-tf', at('kept.tar')], { encoding: 'utf8' })
      .trim()
      .split('\n');
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(['manifest.json', 'index.json', 'oci-layout']));
    await lab.ok(['rmi', 'kept:one', 'kept:two']);
    expect((await lab.docker(['image', 'inspect', 'kept:one'])).code).toBe(1);
    expect(await lab.ok(['load', '-i', at('kept.tar')])).toBe(
      'Loaded image: kept:one\nLoaded image: kept:two',
    );
    expect([await inspect('kept:one', '{{.Id}}'), await inspect('kept:two', '{{.Id}}')]).toEqual(ids);
    expect(await run('kept:two', 'again')).toBe('again');
  });

  test('an image comes back to an engine that has nothing of it, compressed or not', async () => {
    const image = `${lab.registry}fresh`;
    await lab.ok(['pull', '-q', image]);
    const digests = await inspect(image, '{{json .RootFS.Layers}}');
    await lab.ok(['save', '-o', at('fresh.tar'), image]);
    execFileSync('gzip', ['-k', at('fresh.tar')]);
    for (const file of ['fresh.tar', 'fresh.tar.gz']) {
      await lab.ok(['rmi', image]);
      await lab.ok(['load', '-q', '-i', at(file)]);
      expect(await inspect(image, '{{json .RootFS.Layers}}')).toBe(digests);
      // and can be pushed as it is
      await lab.ok(['push', '-q', image]);
    }
  });

  test('an image saved by its id has no name, and is loaded by its id', async () => {
    const id = await inspect(lab.busybox, '{{.Id}}');
    await lab.ok(['save', '-o', at('id.tar'), id]);
    expect(await lab.ok(['load', '-i', at('id.tar')])).toBe(`Loaded image ID: ${id}`);
    const listed = execFileSync('tar', ['-xOf', at('id.tar'), 'manifest.json'], { encoding: 'utf8' });
    expect(JSON.parse(listed)).toEqual([expect.objectContaining({ RepoTags: null })]);
  });

  test('an archive of Docker before OCI, with layers as links, is loaded', async () => {
    const layer = new TarBuilder().file('hello', 'from the old days').build();
    const { createHash } = await import('node:crypto');
    const diffId = `sha256:${createHash('sha256').update(layer).digest('hex')}`;
    const config = JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Cmd: ['/x'] },
      rootfs: { type: 'layers', diff_ids: [diffId, diffId] },
    });
    const archive = new TarBuilder()
      .file('one/layer.tar', layer)
      .symlink('two/layer.tar', '../one/layer.tar')
      .file('config.json', config)
      .file(
        'manifest.json',
        JSON.stringify([
          { Config: 'config.json', RepoTags: ['old/style:1'], Layers: ['one/layer.tar', 'two/layer.tar'] },
        ]),
      )
      .build();
    await writeFile(at('old.tar'), archive);
    expect(await lab.ok(['load', '-i', at('old.tar')])).toBe('Loaded image: old/style:1');
    expect(await inspect('old/style:1', '{{len .RootFS.Layers}}')).toBe('2');
    await lab.ok(['create', '--name', 'old', 'old/style:1']);
    await lab.ok(['cp', 'old:/hello', at('hello')]);
    expect(await readFile(at('hello'), 'utf8')).toBe('from the old days');
    await lab.ok(['rm', 'old']);
  });

  test("of an archive for several platforms the machine's image is loaded, under its name", async () => {
    const store = new MemoryContent();
    const own = process.arch === 'arm64' ? 'arm64' : 'amd64';
    const manifests = [];
    for (const architecture of ['s390x', own]) {
      const layers = [[{ path: architecture, content: architecture }]];
      manifests.push({
        ...(await pushImage(store, architecture, { layers })),
        platform: { os: 'linux', architecture },
      });
    }
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }),
    );
    const descriptor = { mediaType: MEDIA_TYPES.ociIndex, digest: await digestOf(bytes), size: bytes.length };
    await store.push(descriptor, (async function* () { yield bytes; })()); // prettier-ignore
    const archive = writeImageArchive(store, [{ descriptor, names: ['several:v1'] }]);
    await writeFile(at('several.tar'), Buffer.concat(await Array.fromAsync(archive)));
    expect(await lab.ok(['load', '-i', at('several.tar')])).toBe('Loaded image: several:v1');
    await lab.ok(['create', '--name', 'several', 'several:v1', 'x']);
    await lab.ok(['cp', `several:/${own}`, at('own')]);
    expect(await readFile(at('own'), 'utf8')).toBe(own);
    await lab.ok(['rm', 'several']);
  });

  test('archives that are no images, or lie, are refused and leave nothing', async () => {
    const before = await lab.ok(['images', '-qa']);
    const digest = 'a'.repeat(64);
    const cases: [Uint8Array, RegExp][] = [
      [Buffer.from('no archive at all, but text'.repeat(100)), /cannot be read|no image/],
      [new TarBuilder().file('x', 'y').build(), /holds no image/],
      [new TarBuilder().file(`blobs/sha256/${digest}`, 'other').build(), /cannot be read.*digest/],
      [new TarBuilder().file('manifest.json', '{').build(), /manifest\.json.*no JSON/],
      [new TarBuilder().file('manifest.json', '[{"Config":5}]').build(), /manifest\.json/],
      [
        new TarBuilder().file('manifest.json', '[{"Config":"../../etc/passwd","Layers":[]}]').build(),
        /does not hold/,
      ],
      [
        new TarBuilder()
          .symlink('a', 'b')
          .symlink('b', 'a')
          .file('manifest.json', '[{"Config":"a"}]')
          .build(),
        /does not hold/,
      ],
    ];
    for (const [archive, message] of cases) {
      await writeFile(at('bad.tar'), archive);
      const result = await lab.docker(['load', '-i', at('bad.tar')]);
      expect(result.code, result.stdout).toBe(1);
      expect(result.stderr).toMatch(message);
    }
    expect(await lab.ok(['images', '-qa'])).toBe(before);
  });

  test('an exported file system is imported as an image of one layer', async () => {
    await lab.ok(['create', '--name', 'source', lab.busybox]);
    await lab.ok(['export', '-o', at('root.tar'), 'source']);
    await lab.ok(['rm', 'source']);
    const change = 'CMD ["echo", "imported"]';
    const id = await lab.ok(['import', '-m', 'imported', '-c', change, at('root.tar'), 'root:fs']);
    expect(await inspect('root:fs', '{{.Id}} {{.Comment}} {{len .RootFS.Layers}}')).toBe(`${id} imported 1`);
    expect(await run('root:fs')).toBe('imported');
  });

  test('an archive is imported from the web', async () => {
    execFileSync('gzip', ['-kf', at('root.tar')]);
    const served = await readFile(at('root.tar.gz'));
    const server = createServer((request, response) => {
      response.writeHead(request.url === '/root.tar.gz' ? 200 : 404).end(served);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      expect(await lab.ok(['import', `${url}/root.tar.gz`, 'web'])).toMatch(/sha256:[0-9a-f]{64}$/);
      expect(await run('web', 'echo', 'from the web')).toBe('from the web');
      const absent = await lab.docker(['import', `${url}/none`, 'web']);
      expect(absent.stderr).toMatch(/404/);
    } finally {
      server.close();
    }
  });
});
