/** Images from a program: the builder's solver on the packages, with nothing else running. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  compressedLayers,
  copyDocuments,
  imageDocuments,
  nativeRootSyscalls,
  nativeTrees,
  openFileCache,
  oneManifest,
  openLocalContext,
  prepareBuilder,
  solve,
  type BuildOutput,
  type BuildRequest,
  type SolverParts,
} from '@tare/engine/builder';
import { parseReference, referenceTarget, withDefaultTag, type Digest } from '@tare/image-spec';
import { openLayerStore } from '@tare/layer-store';
import { dockerConfigCredentials, RegistryClient } from '@tare/registry-client';
import { createNativeRuntime, layerFs } from '@tare/runtime-native';
import { registryBases } from './bases.ts';
import { runtimeExecutor } from './executor.ts';

/** What is built, and where it goes. */
export interface BuildOptions {
  /** A directory with a Dockerfile. */
  context: string;
  /** Below the context. Default: `Dockerfile`. */
  dockerfile?: string;
  /** A name at a registry, which the image is pushed to. */
  name: string;
  buildArgs?: Readonly<Record<string, string>>;
  target?: string;
  /** By id; no layer, key or line of output has them. */
  secrets?: ReadonlyMap<string, Uint8Array>;
  output: BuildOutput;
  signal?: AbortSignal;
}

/** Builds images, one or several at once. Dispose of it when there is nothing more to build. */
export interface ImageBuilder extends AsyncDisposable {
  /** @returns the digest of the manifest that was pushed */
  buildAndPush(options: BuildOptions): Promise<Digest>;
}

/** Opens a builder that keeps layers, results of steps and cache mounts below `root`. */
export async function openImageBuilder(root: string): Promise<ImageBuilder> {
  await using opened = new AsyncDisposableStack();
  await mkdir(root, { recursive: true, mode: 0o700 });
  const userNamespace = await inUserNamespace();
  const layers = opened.use(
    await openLayerStore({
      root: join(root, 'layers'),
      fs: layerFs,
      // the kernel lets only real root have marks of the other kind
      policy: { overlayXattrs: userNamespace ? 'user' : 'trusted' },
    }),
  );
  const client = opened.use(new RegistryClient({ credentials: dockerConfigCredentials() }));
  const runtime = createNativeRuntime({ stateDirectory: join(root, 'run') });
  const directory = join(root, 'builder');
  const trees = nativeTrees(layerFs);
  const syscalls = nativeRootSyscalls(layerFs);
  const parts: SolverParts = {
    layers,
    bases: registryBases(client, layers),
    executor: runtimeExecutor({ runtime, layers, syscalls, userNamespace }),
    cache: openFileCache(directory),
    // nothing is collected here: what is in the store stays
    leases: { hold: () => ({ [Symbol.dispose]: () => undefined }) },
    trees,
    syscalls,
    directory,
  };
  await prepareBuilder(parts);
  const all = opened.move();
  return {
    buildAndPush: (options) => build(parts, client, options),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Builds one image with a builder of its own. */
export async function buildAndPush(root: string, options: BuildOptions): Promise<Digest> {
  await using builder = await openImageBuilder(root);
  // awaited here: the builder is closed when this returns
  return await builder.buildAndPush(options);
}

async function build(parts: SolverParts, client: RegistryClient, options: BuildOptions): Promise<Digest> {
  const { signal = new AbortController().signal, output, secrets, buildArgs = {}, target = '' } = options;
  const id = randomBytes(16).toString('hex');
  await using files = await openLocalContext(resolve(options.context), {
    trees: parts.trees,
    syscalls: parts.syscalls,
    directory: join(parts.directory, 'contexts', id),
    dockerfile: options.dockerfile ?? 'Dockerfile',
    signal,
  });
  const request: BuildRequest = {
    dockerfile: files.dockerfile,
    context: () => Promise.resolve(files),
    secrets: {
      secret: (name) => Promise.resolve(secrets?.get(name)),
      agent: () => Promise.resolve(undefined),
    },
    target,
    buildArgs,
    labels: {},
    platform: undefined,
    noCache: false,
    pull: false,
    limits: {},
    // the registry client has them
    auth: () => Promise.resolve(undefined),
  };
  await using solved = await solve(parts, request, { output, id, signal });
  const image = solved.image();
  const layers = await compressedLayers(parts, image.layers, signal);
  const documents = oneManifest({ ...(await imageDocuments({ ...image, layers })), layers });
  const name = withDefaultTag(parseReference(options.name));
  const repository = client.repository(name);
  const manifest = await copyDocuments(parts.layers.content, repository, documents, signal);
  await repository.tag(manifest, referenceTarget(name), { signal });
  return manifest.digest;
}

/** Whether this process is root in a namespace of its own alone. */
async function inUserNamespace(): Promise<boolean> {
  const map = await readFile('/proc/self/uid_map', 'utf8');
  return !/^\s*0\s+0\s+4294967295\s*$/.test(map);
}
