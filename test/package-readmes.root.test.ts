/** The programs in the READMEs of the packages that work on images: each is run as it stands, with what it takes as given before it. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MEDIA_TYPES } from '@tare/image-spec';
import { TarBuilder } from '@tare/layer-store/testing';
import { startTestRegistry, type TestRegistry } from '@tare/registry-client/testing';
import { gzipSync } from 'node:zlib';
import { sha256 } from '@tare/layer-store/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf } from './lab/documents.ts';
import { run } from './lab/process.ts';

const ROOT = join(import.meta.dirname, '..');
const programsOf = (name: string): string[] =>
  blocksOf(join(ROOT, 'packages', name, 'README.md')).flatMap(({ language, text }) =>
    language === 'ts' ? [text] : [],
  );

const isRoot = process.getuid?.() === 0;

test('every test that the list of threats names is there', () => {
  const text = readFileSync(join(ROOT, 'docs/image-threats.md'), 'utf8');
  for (const section of text.split(/^## /m).slice(1)) {
    const home = /^[^\n]*\(`(.*?)`\)/.exec(section)?.[1] ?? '';
    const named = [
      ...section.matchAll(/`((?:test|packages|examples)\/[^`]*\.test\.ts)`(?: \("(.*?)"[^|]*\))?/g),
    ];
    expect(named.length).toBeGreaterThan(0);
    for (const [, file, title] of named) {
      const path = [join(ROOT, home, file!), join(ROOT, file!)].find((each) => existsSync(each));
      expect(path, file).toBeDefined();
      for (const part of (title ?? '').split('…')) expect(readFileSync(path!, 'utf8')).toContain(part.trim());
    }
  }
});

let folder: string;
let registry: TestRegistry;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'readmes-'));
  // where every package finds the others
  await symlink(join(ROOT, 'examples/engine/node_modules'), join(folder, 'node_modules'));
  registry = await startTestRegistry();
  const archive = new TarBuilder().directory('etc').file('etc/hello', 'content').build();
  const layer = registry.addBlob(gzipSync(archive), MEDIA_TYPES.ociLayerGzip);
  const config = registry.addBlob(
    JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      rootfs: { type: 'layers', diff_ids: [sha256(archive)] },
    }),
    MEDIA_TYPES.ociConfig,
  );
  const mediaType = MEDIA_TYPES.ociManifest;
  registry.addManifest('alpine', '3.20', mediaType, { schemaVersion: 2, mediaType, config, layers: [layer] });
  await writeFile(join(folder, 'layer.tar.gz'), gzipSync(archive));
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Runs programs as one, with `before` and `after` around it. @returns what they printed */
async function output(parts: string[], { before = '', after = '' } = {}): Promise<string> {
  const source = [before, ...parts, after]
    .join('\n')
    .replaceAll("'alpine:3.20'", `'${registry.host}/alpine:3.20'`)
    .replaceAll('localhost:5000', registry.host)
    .replaceAll('/var/lib/example', join(folder, 'example'))
    .replaceAll('/run/example', folder);
  await writeFile(join(folder, 'program.mts'), source);
  const { code, stdout, stderr } = await run(process.execPath, ['--conditions=@tare/source', 'program.mts'], {
    cwd: folder,
    timeoutMs: 30_000,
  });
  expect(code, `${source}\n${stderr}`).toBe(0);
  return stdout;
}

describe('image-spec', () => {
  const [documents, copy] = programsOf('image-spec');
  test('documents and names', async () => {
    const said = await output([documents!.replaceAll("'alpine:3.20'", '"alpine:3.20"')]);
    for (const [, comment] of documents!.matchAll(/console\.log.*?\/\/ (.*?)…?$/gm))
      expect(said).toContain(comment);
    expect(documents).toMatch(/console\.log.*\/\//);
  });

  test('copying', async () => {
    const before = `
      const source = new MemoryContent();
      const descriptor = { mediaType: 'text/plain', size: 1, digest: '${sha256(Buffer.from('x'))}' as never };
      await source.push(descriptor, (async function* () { yield Buffer.from('x'); })());`;
    await output([copy!], { before });
  });
});

describe('registry-client', () => {
  test('from a registry, and to one', async () => {
    const [pull, push, ...more] = programsOf('registry-client');
    const said = await output([pull!, push!, ...more]);
    expect(said).toMatch(/^done [0-9a-f]{12} (\d+)\/\1$/m);
    expect(registry.manifests.has('copy/alpine:3.20')).toBe(true);
  });
});

/** What one of the programs has of another. */
const IMAGE = `
  import { platformOfProcess } from '@tare/image-spec';
  import { copyGraph, readImage } from '@tare/image-spec/content';
  import { openLayerStore } from '@tare/layer-store';
  import { RegistryClient } from '@tare/registry-client';
  import { layerFs } from '@tare/runtime-native/syscalls';
  await using client = new RegistryClient();
  const repository = client.repository('alpine:3.20');
  const { descriptor, layers } = await readImage(repository, await repository.resolve(), platformOfProcess(process));`;

describe('layer-store', () => {
  const programs = programsOf('layer-store');
  const find = (text: string): string => programs.find((program) => program.includes(text))!;

  test('unpacking without privilege', async () => {
    const said = await output([find('applyLayer(')]);
    expect(said).toMatch(/^sha256:[0-9a-f]{64} 2 \[\]$/m);
  });

  test.skipIf(!isRoot)('keeping images, and looking at them', async () => {
    const users = `
      import { createUserNamespace, removeUserNamespace } from '@tare/runtime-native';
      const ids = [{ containerID: 0, hostID: 100000, size: 65536 }];
      await createUserNamespace('/run/example/users', { uidMappings: ids, gidMappings: ids });`;
    const after = `
      console.log(JSON.stringify(mounts), JSON.stringify(shifted));
      await removeUserNamespace('/run/example/users');`;
    const said = await output([find("prepare('my-container'"), users, find('userNamespace:')], { after });
    expect(said).toContain(' extract ');
    expect(said).toContain('upperdir=');
    expect(said).toContain(`X-mount.idmap=${folder}/users`);
  });

  test.skipIf(!isRoot)('on threads, while the blobs arrive', async () => {
    const [worker, open] = find('serveUnpacking(').split('// where the store is opened\n');
    await writeFile(join(folder, 'unpack.worker.ts'), worker!);
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    const before = `${IMAGE}
      const root = '/var/lib/example-2';`;
    const after = `console.log(chainId === layers.at(-1)!.chainId);`;
    expect(await output([open!, find('{ arrival }')], { before, after })).toBe('true\n');
  });

  test.skipIf(!isRoot)('layers as images', async () => {
    await output([find('openErofsSnapshotter(').replaceAll('/var/lib/example', '/var/lib/example-3')]);
  });
});
