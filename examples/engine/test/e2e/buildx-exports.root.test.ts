/** What `docker buildx build` makes of a result: archives, images of registries, caches for other engines. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab } from './build-lab.ts';

const missing = missingForBuildx();

describe.skipIf(missing !== undefined)(`exports of buildx${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  beforeAll(async () => {
    here = await startBuildLab();
  });
  afterAll(() => here?.[Symbol.asyncDispose]());
  afterEach(async () => {
    await here.expectNothingLeft();
    await here.lab.docker(['rmi', '-f', 'built']);
  });

  const files = {
    Dockerfile:
      'FROM busybox AS made\nRUN echo made > /made\nFROM busybox\nCOPY --from=made /made /\nCOPY own /own\n',
    own: 'own',
  };
  const steps = 3;
  const countCached = (shown: string): number => shown.match(/CACHED/g)?.length ?? 0;
  /** Everything that this engine knows goes: what comes from a cache then comes from elsewhere. */
  async function forget(): Promise<void> {
    await here.lab.docker(['rmi', '-f', 'built']);
    await here.lab.ok(['builder', 'prune', '-af']);
  }

  test.each(['docker', 'oci'])('an archive of type %s, which is loaded again', async (type) => {
    const { lab, folder } = here;
    const archive = join(folder, `${type}.tar`);
    const shown = await here.build(files, '-t', 'exported', '-o', `type=${type},dest=${archive}`);
    expect(shown.stderr).not.toContain('ERROR');
    // the image was for the client alone
    expect((await lab.docker(['image', 'inspect', 'exported'])).code).toBe(1);
    expect(await lab.ok(['images', '-aq', '--filter', 'dangling=true'])).toBe('');
    const unpacked = join(folder, `${type}-layout`);
    await mkdir(unpacked);
    await run('tar', ['-xf', archive, '-C', unpacked], {});
    const index = JSON.parse(await readFile(join(unpacked, 'index.json'), 'utf8')) as {
      manifests: unknown[];
    };
    expect(index.manifests).toMatchObject([
      { annotations: { 'io.containerd.image.name': 'docker.io/library/exported:latest' } },
    ]);
    expect(await lab.ok(['load', '-i', archive])).toContain('exported:latest');
    expect(await lab.ok(['run', '--rm', 'exported', 'cat', '/own', '/made'])).toBe('ownmade');
    await lab.ok(['rmi', '-f', 'exported']);
  });

  test('an image that is pushed when it is built', async () => {
    const { lab } = here;
    const name = `${lab.registry}pushed:by-build`;
    const result = await here.build(files, '-t', name, '--push');
    expect(result.stderr).not.toContain('ERROR');
    await lab.docker(['rmi', '-f', name]);
    expect(await lab.ok(['run', '--rm', name, 'cat', '/own'])).toBe('own');
    await lab.ok(['rmi', '-f', name]);
  });

  test('a cache in a registry: of the result, or of every step', async () => {
    const { lab } = here;
    for (const [mode, hits] of [
      ['min', 2],
      ['max', steps],
    ] as const) {
      const name = `${lab.registry}cache:${mode}`;
      await here.built(files, '--cache-to', `type=registry,ref=${name},mode=${mode}`);
      await forget();
      const shown = await here.built(files, '--cache-from', `type=registry,ref=${name}`);
      expect(shown).toContain(`importing cache manifest from ${name}`);
      expect(countCached(shown), mode).toBe(hits);
      expect(await here.inImage('cat', '/own', '/made')).toBe('ownmade');
      await forget();
    }
  });

  test('a cache in a directory of the client', async () => {
    const cache = join(here.folder, 'cache');
    await here.built(files, '--cache-to', `type=local,dest=${cache},mode=max`);
    expect(await readdir(cache)).toEqual(expect.arrayContaining(['blobs', 'index.json']));
    await forget();
    expect(countCached(await here.built(files, '--cache-from', `type=local,src=${cache}`))).toBe(steps);
    // writing the same again does nothing
    await here.built(files, '--cache-to', `type=local,dest=${cache},mode=max`);
  });

  test('what is not there is said: other caches, other forms', async () => {
    const cache = await here.build(
      files,
      '--cache-to',
      'type=azblob,name=x,account_url=http://127.0.0.1:1,secret_access_key=b',
    );
    expect(cache.code, cache.stderr).toBe(1);
    expect(cache.stderr).toContain('caches of type azblob are not written');
    const zstd = await here.build(files, '-o', 'type=image,name=built,compression=zstd');
    expect(zstd.stderr).toContain('does not know compression=zstd');
  });
});
