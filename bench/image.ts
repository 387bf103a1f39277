/**
 * The image that pulls and pushes are measured with: three layers, about 150 MB compressed, 450 MB and 12,000 files
 * unpacked. A Debian with git as debootstrap makes it, one large binary (Node.js), and a tree of node_modules. Made once per
 * checkout, in `.cache/`.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { promisify } from 'node:util';
import { descriptorSchema, MEDIA_TYPES, type Descriptor } from '@tare/image-spec';
import { copyGraph } from '@tare/image-spec/content';
import {
  createLayer,
  openFileContent,
  packTree,
  type CreatedLayer,
  type FileContent,
} from '@tare/layer-store';
import { bringUpLoopback } from '@tare/netdriver';
import { RegistryClient } from '@tare/registry-client';
import { layerFs } from '@tare/runtime-native';
import { COMPONENTS, componentPath, fetchComponents, packageFolder } from '../test/lab/debian.ts';
import { startDebianRegistry } from '../test/lab/registry.ts';

const CHECKOUT = join(import.meta.dirname, '..');
/** The number counts the recipes: what an earlier one made is not what is asked for. */
const CACHE = join(CHECKOUT, '.cache', 'bench-image.2');
/** What other tools compress with. */
const GZIP_LEVEL = 6;
const NODE_MODULES_FILES = 3_000;
const run = promisify(execFile);

/** Makes the images, and what serves them, when they are not there. Needs root and Debian's mirror. */
export async function prepareImages(): Promise<void> {
  if (componentPath(COMPONENTS.registry) === undefined) await fetchComponents();
  if (existsSync(CACHE)) return;
  await mkdir(dirname(CACHE), { recursive: true });
  const work = await mkdtemp(`${CACHE}.`);
  const trees = await mkdtemp(join(tmpdir(), 'tare-bench-image-'));
  try {
    const content = await openFileContent(work);
    const layers: CreatedLayer[] = [];
    for (const [name, fill] of Object.entries({ debian, binary, modules })) {
      const tree = join(trees, name);
      await mkdir(tree);
      await fill(tree);
      layers.push(await pack(content, tree));
    }
    const small = join(trees, 'small');
    await mkdir(small);
    await writeFile(join(small, 'changed'), 'another one on top\n');
    const changed = [...layers.slice(0, -1), await pack(content, small)];
    const images = { image: await manifest(content, layers), changed: await manifest(content, changed) };
    await writeFile(join(work, 'images.json'), JSON.stringify(images));
    await rename(work, CACHE);
  } finally {
    await rm(work, { recursive: true, force: true });
    await rm(trees, { recursive: true, force: true });
  }
}

/** The images, where they are served. */
export interface ServedImages {
  /** Host and port of Debian's docker-registry. */
  host: string;
  /** References. `changed` shares all but its last layer, which is small, with `image`. */
  image: string;
  changed: string;
}

/** Starts a registry that has the images; it ends with `stack`. */
export async function serveImages(stack: AsyncDisposableStack): Promise<ServedImages> {
  await bringUpLoopback('/proc/self/ns/net');
  const { host } = stack.use(await startDebianRegistry());
  await using client = new RegistryClient();
  const repository = client.repository(`${host}/bench`);
  const content = await openFileContent(CACHE);
  const images = JSON.parse(await readFile(join(CACHE, 'images.json'), 'utf8')) as Record<string, unknown>;
  for (const [tag, root] of Object.entries(images)) {
    const descriptor = descriptorSchema.parse(root);
    await copyGraph(content, repository, descriptor);
    await repository.tag(descriptor, tag);
  }
  return { host, image: `${host}/bench:image`, changed: `${host}/bench:changed` };
}

async function debian(tree: string): Promise<void> {
  const tool = await packageFolder('debootstrap');
  const script = join(tool, 'usr/sbin/debootstrap');
  const env = { ...process.env, DEBOOTSTRAP_DIR: join(tool, 'usr/share/debootstrap') };
  await run('sh', [script, '--include=git', 'bookworm', tree], { env, maxBuffer: 64 << 20 });
  // what images leave out: packages and lists that apt can fetch again
  for (const path of ['var/cache/apt', 'var/lib/apt/lists']) {
    await rm(join(tree, path), { recursive: true });
    await mkdir(join(tree, path));
  }
}

async function binary(tree: string): Promise<void> {
  const target = join(tree, 'usr/local/bin/node');
  await mkdir(dirname(target), { recursive: true });
  await cp(process.execPath, target);
}

/** The packages of this checkout, until there are enough files. */
async function modules(tree: string): Promise<void> {
  const store = join(CHECKOUT, 'node_modules/.pnpm');
  let files = 0;
  for (const name of (await readdir(store)).sort()) {
    const from = join(store, name, 'node_modules');
    if (!existsSync(from)) continue;
    for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
      // links lead to other packages, and the largest files are programs
      if (!entry.isFile() || files >= NODE_MODULES_FILES || entry.name.endsWith('.node')) continue;
      const path = join(entry.parentPath, entry.name);
      if ((await readFile(path)).length > 500_000) continue;
      files += 1;
      const target = join(tree, 'app/node_modules', path.slice(from.length + sep.length));
      await mkdir(dirname(target), { recursive: true });
      await cp(path, target);
    }
  }
}

async function pack(content: FileContent, tree: string): Promise<CreatedLayer> {
  const directory = await open(tree);
  try {
    return await createLayer(content, packTree(directory.fd, { fs: layerFs }), { level: GZIP_LEVEL });
  } finally {
    await directory.close();
  }
}

async function manifest(content: FileContent, layers: readonly CreatedLayer[]): Promise<Descriptor> {
  const created = '2026-01-01T00:00:00Z';
  const config = await put(content, MEDIA_TYPES.dockerConfig, {
    created,
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, index) => ({ created, created_by: `layer ${index}` })),
  });
  return put(content, MEDIA_TYPES.dockerManifest, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.dockerManifest,
    config,
    layers: layers.map(({ descriptor }) => ({ ...descriptor, mediaType: MEDIA_TYPES.dockerLayerGzip })),
  });
}

async function put(content: FileContent, mediaType: string, value: unknown): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(value));
  const created = await content.create((async function* () { yield bytes; })()); // prettier-ignore
  return { mediaType, ...created };
}
