/** The command beside skopeo and umoci: what it writes they read, what they write it reads, to the byte. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MEDIA_TYPES, blobPath, digestOf, parseLayoutIndex, type Descriptor } from '@tare/image-spec';
import { MemoryContent, copyGraph } from '@tare/image-spec/content';
import { TarBuilder } from '@tare/layer-store/testing';
import { RegistryClient } from '@tare/registry-client';
import { startRegistry, type RunningRegistry } from '@tare/registry';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { imageTools } from '../../../test/lab/image-tools.ts';
import { pushImage } from '../../../test/lab/images.ts';
import { toOci } from '../src/image.ts';
import { runTool } from '../src/tool.ts';

const { skopeo, umoci } = await imageTools();
const root = process.getuid?.() === 0;

let folder: string;
let registry: RunningRegistry;
let host: string;
/** One image in Docker's form and in OCI's, and an index of it and another. */
let docker: Descriptor;
let image: Descriptor;
let index: Descriptor;
let work: string;
let works = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tare-image-tool-'));
  registry = await startRegistry({ root: join(folder, 'registry') });
  ({ host } = new URL(registry.url));
  const store = new MemoryContent();
  docker = await pushImage(store, 'docker', {
    layers: [
      [{ path: 'etc', type: 'directory' }, { path: 'etc/one', content: '1' }, { path: 'gone', content: 'x' }],
      [{ path: 'etc/two', content: '2'.repeat(100_000) }, { path: 'etc/link', type: 'symlink', linkname: 'two' }, { path: '.wh.gone' }],
    ],
    config: { Env: ['PATH=/bin', 'A=1'], Cmd: ['sh'] },
  }); // prettier-ignore
  image = await toOci(store, docker, store);
  const other = await toOci(store, await pushImage(store, 'v2', { layers: [[{ path: 'other' }]] }), store);
  const manifests = [
    { ...image, platform: { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' } },
    { ...other, platform: { os: 'linux', architecture: 's390x' } },
  ];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }));
  index = { mediaType: MEDIA_TYPES.ociIndex, digest: await digestOf(bytes), size: bytes.length };
  await store.push(index, (async function* () { yield bytes; })()); // prettier-ignore
  await using client = new RegistryClient();
  for (const [name, what] of [['app:v1', image], ['multi:v1', index], ['docker:v1', docker]] as const) {
    const repository = client.repository(`${host}/${name}`);
    await copyGraph(store, repository, what);
    await repository.tag(what, 'v1');
  } // prettier-ignore
});
afterAll(async () => {
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  work = join(folder, `work-${(works += 1)}`);
  await mkdir(work);
});

/** Paths of an argument are those of the test's folder. */
function inWork(argument: string): string {
  return argument
    .replace(/^((?:oci|archive|oci-archive|docker-archive):)(?!\/)/, `$1${work}/`)
    .replace(/^\.\//, `${work}/`);
}

/** Calls the tool; what it printed without the last line break, and whether it found all well. */
async function call(...args: string[]): Promise<{ well: boolean; stdout: string }> {
  const parts: Uint8Array[] = [];
  const write = async (bytes: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const part of bytes) parts.push(part);
  };
  const well = await runTool(args.map(inWork), { write });
  return { well, stdout: Buffer.concat(parts).toString().replace(/\n$/, '') };
}

async function tool(...args: string[]): Promise<string> {
  const { well, stdout } = await call(...args);
  if (!well) throw new Error(`image-tool ${args.join(' ')} found: ${stdout}`);
  return stdout;
}

const PLAIN = ['--src-tls-verify=false', '--dest-tls-verify=false'];
const KEEP = [...PLAIN, '--all', '--preserve-digests'];

describe('on its own', () => {
  const temporary = async (): Promise<string[]> =>
    (await readdir(tmpdir())).filter((name) => name.startsWith('image-tool-'));

  test('copies through a layout and an archive and back, to the byte', async () => {
    for (const [name, { digest }] of [['app', image], ['multi', index]] as const) {
      await tool('copy', `${host}/${name}:v1`, 'oci:layout:a');
      await tool('copy', 'oci:layout:a', `archive:${name}.tar`);
      await tool('push', `./${name}.tar`, `${host}/back/${name}:v2`);
      await tool('pull', `${host}/back/${name}:v2`, `./again.tar`);
      for (const place of ['oci:layout:a', `${host}/back/${name}:v2`, './again.tar', `archive:again.tar:back/${name}:v2`]) {
        if (place.startsWith('archive')) continue;
        expect(await tool('digest', place)).toBe(digest);
      }
      expect(await tool('digest', '--full-ref', `${host}/back/${name}:v2`)).toBe(`${host}/back/${name}@${digest}`);
      expect(await tool('manifest', './again.tar')).toBe(await tool('manifest', `${host}/${name}:v1`));
      expect(await tool('validate', './again.tar')).toBe('');
    } // prettier-ignore
  });

  test('lists, tags and deletes', async () => {
    await tool('copy', `${host}/app:v1`, `${host}/listed:v1`);
    await tool('tag', `${host}/listed:v1`, 'v2');
    expect(await tool('ls', `${host}/listed`)).toBe('v1\nv2');
    expect((await tool('catalog', host)).split('\n')).toEqual(
      expect.arrayContaining(['app', 'listed', 'multi']),
    );
    await tool('delete', `${host}/listed:v1`);
    expect(await tool('ls', `${host}/listed`)).toBe('v2');
    await tool('delete', `${host}/listed@${image.digest}`);
    expect(await tool('ls', `${host}/listed`)).toBe('');
    for (const wrong of [['delete', `${host}/listed`], ['delete', `${host}/listed:v1`], ['digest', 'UPPER']]) {
      await expect(call(...wrong)).rejects.toThrow();
    } // prettier-ignore
  });

  test('clears away what it began when it is stopped', async () => {
    const stop = new AbortController();
    stop.abort(new Error('enough'));
    const before = await temporary();
    for (const target of ['oci:stopped:v1', './stopped.tar', `${host}/stopped:v1`]) {
      const args = ['copy', `${host}/app:v1`, target].map(inWork);
      await expect(runTool(args, { write: async () => {}, signal: stop.signal })).rejects.toThrow('enough');
    }
    expect(await temporary()).toEqual(before);
    expect((await readdir(work)).filter((name) => name.endsWith('unfinished'))).toEqual([]);
  });

  test('takes one platform of an index where it is asked to', async () => {
    await tool('--platform', 'linux/s390x', 'copy', `${host}/multi:v1`, 'oci:layout:z');
    expect(JSON.parse(await tool('manifest', 'oci:layout:z')).layers.length).toBe(1);
    expect(await tool('--platform', 'linux/s390x', 'digest', `${host}/multi:v1`)).toBe(
      await tool('digest', 'oci:layout:z'),
    );
    expect(JSON.parse(await tool('config', `${host}/multi:v1`)).config.Cmd).toEqual(['sh']);
    await expect(tool('--platform', 'linux/riscv64', 'digest', `${host}/multi:v1`)).rejects.toThrow(
      'linux/s390x',
    );
  });

  test('exports the file system', async () => {
    await tool('export', `${host}/multi:v1`, './fs.tar');
    await mkdir(join(work, 'fs'));
    execFileSync('tar', ['-xf', 'fs.tar', '-C', 'fs'], { cwd: work });
    expect((await readdir(join(work, 'fs'), { recursive: true })).sort()).toEqual([
      'etc',
      'etc/link',
      'etc/one',
      'etc/two',
    ]);
    expect((await readFile(join(work, 'fs/etc/link'), 'utf8')).length).toBe(100_000);
  });

  test('says nothing, and leaves nothing, when who reads it has enough', async () => {
    const before = await temporary();
    const main = join(import.meta.dirname, '..', 'src', 'main.ts');
    const command = `'${process.execPath}' --conditions=@tare/source '${main}' export ${host}/multi:v1`;
    const { stdout, stderr } = await promisify(execFile)('bash', [
      '-c',
      `${command} | head -c 1 | wc -c; echo "\${PIPESTATUS[0]}"`,
    ]);
    expect({ stdout, stderr }).toEqual({ stdout: '1\n141\n', stderr: '' });
    expect(await temporary()).toEqual(before);
  });

  test('puts layers on top and changes how an image runs, and keeps what it does not know', async () => {
    await writeFile(join(work, 'layer.tar'), new TarBuilder().file('added', 'new').build());
    const appended = await tool('append', `${host}/multi:v1`, `${host}/more:v1`, '-f', './layer.tar', '-f', './layer.tar', '--zstd');
    expect(await tool('digest', `${host}/more:v1`)).toBe(appended);
    const manifest = JSON.parse(await tool('manifest', `${host}/more:v1`));
    expect(manifest.layers.length).toBe(4);
    expect(manifest.layers[3].mediaType).toBe(MEDIA_TYPES.ociLayerZstd);
    expect(await tool('validate', `${host}/more:v1`)).toBe('');
    await tool('mutate', `${host}/more:v1`, 'oci:mutated:v1', '-e', 'A=2', '-e', 'B=3', '-l', 'x=y=z', '--entrypoint', 'echo', 'hi', '-u', '5', '-w', '/etc', '-a', 'note=n');
    expect(JSON.parse(await tool('config', 'oci:mutated:v1')).config).toEqual({
      Env: ['PATH=/bin', 'A=2', 'B=3'],
      Cmd: ['sh'],
      Labels: { x: 'y=z' },
      Entrypoint: ['echo', 'hi'],
      User: '5',
      WorkingDir: '/etc',
    });
    expect(JSON.parse(await tool('manifest', 'oci:mutated:v1')).annotations).toEqual({ note: 'n' });
    expect(await tool('validate', 'oci:mutated:v1')).toBe('');
    await tool('export', 'oci:mutated:v1', './fs.tar');
    expect(execFileSync('tar', ['-xOf', 'fs.tar', 'added'], { cwd: work, encoding: 'utf8' })).toBe('new');
  }); // prettier-ignore

  test('finds what is wrong with an image', async () => {
    await tool('copy', `${host}/app:v1`, 'oci:layout:v1');
    const manifest = JSON.parse(await tool('manifest', 'oci:layout:v1'));
    const layer = join(work, 'layout', blobPath(manifest.layers[1].digest));
    const bytes = await readFile(layer);
    bytes[bytes.length - 1]! ^= 1;
    await rm(layer);
    await writeFile(layer, bytes);
    const found = await call('validate', 'oci:layout:v1');
    expect([found.well, found.stdout]).toEqual([
      false,
      expect.stringMatching(new RegExp(`^${manifest.layers[1].digest}: .+$`)),
    ]);
  });
});

describe.skipIf(skopeo === undefined)('skopeo', () => {
  const ask = (...args: string[]) => skopeo!(...args);

  test('reads the layouts and archives that it writes', async () => {
    for (const [name, { digest }] of [['app', image], ['multi', index]] as const) {
      await tool('pull', `${host}/${name}:v1`, 'oci:layout:v1');
      await tool('pull', `${host}/${name}:v1`, `./${name}.tar`);
      const raw = await tool('manifest', `${host}/${name}:v1`);
      for (const [i, from] of [`oci:${work}/layout:v1`, `oci-archive:${work}/${name}.tar:v1`].entries()) {
        expect(await ask('inspect', '--raw', from)).toBe(raw);
        await ask('copy', ...KEEP, from, `docker://${host}/sk/${name}:r${i}`);
        expect(await tool('digest', `${host}/sk/${name}:r${i}`)).toBe(digest);
      }
      // as docker load does
      const loaded = JSON.parse(await ask('inspect', `docker-archive:${work}/${name}.tar:${host}/${name}:v1`));
      expect(loaded.Layers.length).toBe(2);
      await ask('copy', ...PLAIN, `docker-archive:${work}/${name}.tar:${host}/${name}:v1`, `dir:${work}/dir-${name}`);
    } // prettier-ignore
  });

  test('writes layouts and archives that it reads', async () => {
    for (const [name, { digest }] of [['app', image], ['multi', index]] as const) {
      await ask('copy', ...KEEP, `docker://${host}/${name}:v1`, `oci:${work}/layout:${name}`);
      await ask('copy', ...KEEP, `docker://${host}/${name}:v1`, `oci-archive:${work}/${name}.tar:some`);
      for (const from of [`oci:layout:${name}`, `oci-archive:${name}.tar:some`, `./${name}.tar`]) {
        expect(await tool('digest', from)).toBe(digest);
        expect(await tool('validate', from)).toBe('');
        await tool('push', from, `${host}/from-skopeo/${name}:v1`);
        expect(await tool('digest', `${host}/from-skopeo/${name}:v1`)).toBe(digest);
      }
    } // prettier-ignore
    await ask('copy', ...PLAIN, `docker://${host}/app:v1`, `docker-archive:${work}/docker.tar:app:v1`);
    // its layers are uncompressed there, its config is the same
    expect(await tool('config', 'docker-archive:docker.tar:app:v1')).toBe(
      await tool('config', `${host}/app:v1`),
    );
    expect(await tool('validate', './docker.tar')).toBe('');
    await tool('push', './docker.tar', `${host}/from-docker:v1`);
    expect(
      JSON.parse(await ask('inspect', '--tls-verify=false', `docker://${host}/from-docker:v1`)).Layers.length,
    ).toBe(2);
  });

  test('understands what was appended and changed', async () => {
    await writeFile(join(work, 'layer.tar'), new TarBuilder().file('added', 'new').build());
    await tool('append', `${host}/app:v1`, 'oci:layout:v1', '-f', './layer.tar');
    await tool('mutate', 'oci:layout:v1', 'oci:layout:v2', '-l', 'a=b');
    const seen = JSON.parse(await ask('inspect', `oci:${work}/layout:v2`));
    expect(seen).toMatchObject({ Labels: { a: 'b' }, Digest: await tool('digest', 'oci:layout:v2') });
    expect(seen.Layers.length).toBe(3);
  });
});

describe.skipIf(umoci === undefined || !root)('umoci', () => {
  const ask = (...args: string[]) => umoci!(...args);

  test('reads the layouts that it writes, and unpacks what it exports', async () => {
    await tool('pull', `${host}/app:v1`, 'oci:layout:v1');
    expect(await ask('ls', '--layout', join(work, 'layout'))).toBe('v1\n');
    await tool('pull', '--oci', `${host}/docker:v1`, 'oci:layout:oci');
    expect(await tool('digest', 'oci:layout:oci')).toBe(image.digest);
    await ask('raw', 'unpack', '--image', `${work}/layout:oci`, join(work, 'unpacked'));
    await tool('export', 'oci:layout:oci', './fs.tar');
    await mkdir(join(work, 'fs'));
    execFileSync('tar', ['-xpf', 'fs.tar', '-C', 'fs'], { cwd: work });
    expect(execFileSync('diff', ['-r', 'unpacked', 'fs'], { cwd: work, encoding: 'utf8' })).toBe('');
  });

  test('writes layouts that it reads, to the byte', async () => {
    await tool('pull', `${host}/app:v1`, 'oci:layout:oci');
    await writeFile(join(work, 'file'), 'from umoci');
    await ask('insert', '--image', `${work}/layout:oci`, '--tag', 'more', join(work, 'file'), '/inserted');
    await ask(
      'config',
      '--image',
      `${work}/layout:more`,
      '--tag',
      'other',
      '--config.user',
      '7',
      '--config.env',
      'C=d',
    );
    const { manifests } = parseLayoutIndex(await readFile(join(work, 'layout/index.json')));
    for (const tag of ['more', 'other']) {
      const entry = manifests.find(
        ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] === tag,
      )!;
      expect(await tool('digest', `oci:layout:${tag}`)).toBe(entry.digest);
      expect(await tool('validate', `oci:layout:${tag}`)).toBe('');
      await tool('push', `oci:layout:${tag}`, `${host}/from-umoci:${tag}`);
      expect(await tool('digest', `${host}/from-umoci:${tag}`)).toBe(entry.digest);
    }
    expect(JSON.parse(await tool('config', `${host}/from-umoci:other`)).config).toMatchObject({ User: '7' });
    await tool('export', `${host}/from-umoci:other`, './fs.tar');
    expect(execFileSync('tar', ['-xOf', 'fs.tar', 'inserted'], { cwd: work, encoding: 'utf8' })).toBe(
      'from umoci',
    );
  });
});
