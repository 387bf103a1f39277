/** The options of `dockerfile.v0` → a build: where its files come from and how it is limited. */
import { parsePlatform } from '@tare/image-spec';
import { Code, ConnectError } from '@connectrpc/connect';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { z } from 'zod';

import type {
  BuildRequest,
  CacheSource,
  ContextFiles,
  Entitlement,
  NamedContext,
  RunLimits,
} from '../builder/request.ts';
import { directoryFiles, openContext, openGitContext, textOfTree, treeFiles } from '../builder/context.ts';
import { spoolArchive } from '../builder/spool-archive.ts';
import { Spool } from '../builder/spool.ts';
import { SpooledTree } from '../builder/spooled-tree.ts';
import { checkoutGit, parseGitReference } from '../builder/git.ts';
import type { BuildParts } from '../builder/in-engine/parts.ts';
import { registryCache } from '../builder/in-engine/push.ts';
import { asStep, transfer, type BuildOutput } from '../builder/output.ts';
import { hostConfigSchema } from '../containers/host-config.ts';
import { download } from '../download.ts';
import { decodeJson } from '../http/json.ts';
import type { RegistryAuth } from '../images/remote.ts';
import { ignorePatterns, ignoreRules } from '../ignore-file.ts';
import { localCache } from './caches.ts';
import { credentials } from './credentials.ts';
import { syncFiles, type FileSyncOptions } from './file-sync.ts';
import { Upload } from './gen/upload_pb.ts';
import { Outbox } from './wire/outbox.ts';
import { sessionSecrets } from './secrets.ts';
import type { Session } from './sessions.ts';

export type FrontendOptions = Readonly<Record<string, string>>;

/** What the frontend works with. */
export interface FrontendPlace {
  parts: BuildParts;
  session: Session;
  output: BuildOutput;
  signal: AbortSignal;
  /** Gets what removes the files that were taken from the client. */
  held: AsyncDisposableStack;
  /** What the client allows. */
  entitlements: readonly Entitlement[];
}

/** Reads the options and the Dockerfile. Other files are taken from the client when a step needs them. */
export async function readFrontendOptions(
  options: FrontendOptions,
  place: FrontendPlace,
): Promise<BuildRequest> {
  const { session } = place;
  const files = await openFiles(options, new ClientFiles(place), place);
  const platform = options['platform'] ?? '';
  if (platform.includes(',')) {
    throw refused(`several platforms (${platform}) in one build are not supported: build them one by one`);
  }
  const noCache = options['no-cache'];
  const auth = (registry: string) => credentials(session, registry);
  return {
    ...files,
    contexts: namedContexts(options, new ClientFiles(place), place),
    secrets: sessionSecrets(session),
    target: options['target'] ?? '',
    buildArgs: prefixed(options, 'build-arg:'),
    labels: prefixed(options, 'label:'),
    platform: platform === '' ? undefined : parsePlatform(platform),
    noCache:
      noCache === undefined ? false : noCache === '' || list(noCache).map((name) => name.toLowerCase()),
    pull: options['image-resolve-mode'] === 'pull',
    cacheFrom: cacheSources(options, place, auth),
    entitlements: place.entitlements,
    limits: limitsOf(options),
    auth,
  };
}

const importsSchema = z.array(
  z.object({ Type: z.string(), Attrs: z.record(z.string(), z.string()).nullish() }),
);

/** `cache-imports`, or `cache-from` of older clients. Other kinds of caches have nothing for us. */
function cacheSources(
  options: FrontendOptions,
  { parts, session }: FrontendPlace,
  auth: (registry: string) => Promise<RegistryAuth | undefined>,
): CacheSource[] {
  const text = options['cache-imports'];
  if (text === undefined) {
    return list(options['cache-from'] ?? '').map((name) => registryCache(parts, name, auth));
  }
  return decodeJson(text, importsSchema).flatMap(({ Type, Attrs }) => {
    const { ref, src, digest } = Attrs ?? {};
    if (Type === 'registry' && ref) return [registryCache(parts, ref, auth)];
    if (Type === 'local' && src && digest) return [localCache(session, src, digest, parts)];
    return [];
  });
}

type Files = Pick<BuildRequest, 'dockerfile' | 'context' | 'ignores'>;

async function openFiles(
  options: FrontendOptions,
  client: ClientFiles,
  place: FrontendPlace,
): Promise<Files> {
  const filename = options['filename'] ?? 'Dockerfile';
  const remote = options['context'];
  if (remote !== undefined && !remote.startsWith('local:')) {
    const { parts, signal, held } = place;
    const directory = newDirectory(parts);
    const { trees, syscalls } = parts;
    const where = { trees, syscalls, directory, dockerfile: filename, signal };
    const git = parseGitReference(remote);
    const files = held.use(
      git ? await openGitContext(git, where) : await openContext(await remoteContext(remote, place), where),
    );
    const { dockerfile, rules } = files;
    return {
      dockerfile,
      context: () => Promise.resolve(files),
      ignores: () => Promise.resolve(rules && ((path) => rules.ignores(path))),
    };
  }
  const contextName = remote?.slice('local:'.length) ?? options['contextkey'] ?? 'context';
  const own = await client.some(
    options['dockerfilekey'] ?? 'dockerfile',
    'load build definition from Dockerfile',
    [filename, `${filename}.dockerignore`, ...(filename === 'Dockerfile' ? ['dockerfile'] : [])],
  );
  const text = textOf(own, filename) ?? (filename === 'Dockerfile' ? textOf(own, 'dockerfile') : undefined);
  if (text === undefined) {
    throw refused(`failed to read dockerfile: open ${filename}: no such file or directory`, Code.NotFound);
  }
  const ignore = textOf(own, `${filename}.dockerignore`);
  return {
    dockerfile: text,
    context: () => client.whole(contextName, 'load build context', ignore),
    ignores: async () => {
      const { ignores } = ignoreRules(await client.ignored(contextName, ignore));
      return ignores;
    },
  };
}

/** Directories of the client's, each taken once. */
class ClientFiles {
  readonly #place: FrontendPlace;
  readonly #whole = new Map<string, Promise<ContextFiles>>();
  readonly #ignored = new Map<string, Promise<string[]>>();

  constructor(place: FrontendPlace) {
    this.#place = place;
  }

  /** A directory without what it ignores. @param ignore - in place of its `.dockerignore` */
  whole(name: string, title: string, ignore?: string): Promise<ContextFiles> {
    let taken = this.#whole.get(name);
    if (!taken) {
      taken = this.#takeWhole(name, title, ignore);
      this.#whole.set(name, taken);
    }
    return taken;
  }

  /** What the client still has as it was is not sent again. */
  async #takeWhole(name: string, title: string, ignore: string | undefined): Promise<ContextFiles> {
    const { parts, session, signal, held } = this.#place;
    const { files } = parts.cache;
    const key = session.sharedKey === '' ? undefined : JSON.stringify([session.sharedKey, name]);
    const before = key === undefined ? undefined : files.get(key);
    const spool = before?.spool ?? newSpool(parts);
    held.use(spool.hold());
    const exclude = await this.ignored(name, ignore);
    const tree = await this.take(name, title, { exclude, spool, before: before?.tree });
    if (key !== undefined) files.keep(key, tree, spool);
    return held.use(treeFiles(tree, { directory: newDirectory(parts), trees: parts.trees, signal }));
  }

  /** What a directory ignores. @param ignore - in place of its `.dockerignore` */
  ignored(name: string, ignore?: string): Promise<string[]> {
    let patterns = this.#ignored.get(name);
    if (!patterns) {
      patterns = ignore === undefined ? this.#takeIgnored(name) : Promise.resolve(ignorePatterns(ignore));
      this.#ignored.set(name, patterns);
    }
    return patterns;
  }

  async #takeIgnored(name: string): Promise<string[]> {
    const own = await this.some(name, 'load .dockerignore', ['.dockerignore']);
    const text = textOf(own, '.dockerignore');
    return text === undefined ? [] : ignorePatterns(text);
  }

  /** Some files of a directory. */
  some(name: string, title: string, include: readonly string[]): Promise<SpooledTree> {
    const { parts, held } = this.#place;
    const spool = newSpool(parts);
    held.use(spool.hold());
    return this.take(name, title, { include, spool });
  }

  take(
    name: string,
    title: string,
    what: Omit<FileSyncOptions, 'name' | 'signal' | 'onProgress'>,
  ): Promise<SpooledTree> {
    const { session, output, signal } = this.#place;
    return asStep(output, transfer(`take ${title} ${name}`, `[internal] ${title}`), async (told) => {
      let bytes = 0;
      const tree = await syncFiles(session, {
        name,
        ...what,
        signal,
        onProgress: (current) => {
          bytes = current;
          told.progress(`transferring ${name}:`, { current, done: false });
        },
      });
      told.progress(`transferring ${name}:`, { current: bytes, done: true });
      return tree;
    });
  }
}

function namedContexts(
  options: FrontendOptions,
  client: ClientFiles,
  place: FrontendPlace,
): Map<string, NamedContext> {
  const contexts = new Map<string, NamedContext>();
  for (const [name, value] of Object.entries(prefixed(options, 'context:'))) {
    contexts.set(name.replace(/::.*$/, ''), namedContext(name, value, client, place));
  }
  return contexts;
}

function namedContext(name: string, value: string, client: ClientFiles, place: FrontendPlace): NamedContext {
  if (value.startsWith('docker-image://')) {
    return { kind: 'image', reference: value.slice('docker-image://'.length) };
  }
  if (value.startsWith('local:')) {
    const directory = value.slice('local:'.length);
    return { kind: 'directory', open: () => client.whole(directory, `load build context ${name}`) };
  }
  if (/^https?:\/\//.test(value) || parseGitReference(value)) {
    let opened: Promise<ContextFiles> | undefined;
    return { kind: 'directory', open: () => (opened ??= unpackRemote(value, place)) };
  }
  throw refused(
    `the build context ${name} (${value}) cannot be used: directories, archives, repositories and images can`,
  );
}

async function unpackRemote(url: string, place: FrontendPlace): Promise<ContextFiles> {
  const { parts, signal, held } = place;
  const directory = newDirectory(parts);
  const git = parseGitReference(url);
  if (git) {
    held.defer(() => rm(directory, { recursive: true, force: true }));
    await checkoutGit(git, directory, { signal });
    return directoryFiles(directory);
  }
  const spool = newSpool(parts);
  held.use(spool.hold());
  const tree = new SpooledTree(await spoolArchive(await remoteContext(url, place), spool, signal));
  return held.use(treeFiles(tree, { directory, trees: parts.trees, signal }));
}

/** An archive: of the client's standard input, or from an address. */
async function remoteContext(
  url: string,
  { session, signal }: FrontendPlace,
): Promise<AsyncIterable<Uint8Array>> {
  const uploaded = /^http:\/\/buildkit-session(\/.*)$/.exec(url)?.[1];
  if (uploaded !== undefined) {
    const nothing = new Outbox<never>();
    nothing.end();
    const pieces = session.client(Upload).pull(nothing, { headers: { urlpath: uploaded }, signal });
    return (async function* data() {
      for await (const piece of pieces) yield piece.data;
    })();
  }
  if (!/^https?:\/\//.test(url)) {
    throw refused(`${url} cannot be built from: addresses of archives and of git repositories can`);
  }
  return (await download(url, signal)).body;
}

function limitsOf(options: FrontendOptions): RunLimits {
  const network = options['force-network-mode'];
  return hostConfigSchema.parse({
    CgroupParent: options['cgroup-parent'] || undefined,
    ShmSize: options['shm-size'] === undefined ? undefined : Number(options['shm-size']),
    Ulimits: options['ulimit'] === undefined ? undefined : list(options['ulimit']).map(toUlimit),
    ExtraHosts:
      options['add-hosts'] === undefined
        ? undefined
        : list(options['add-hosts']).map((host) => host.replace('=', ':')),
    NetworkMode:
      network === undefined || network === 'default' || network === 'sandbox' ? undefined : network,
  });
}

/** `nofile=1024:2048`. */
function toUlimit(text: string): { Name: string; Soft: number; Hard: number } {
  const [, name = '', soft = '', hard = soft] = /^([^=]+)=(-?\d+)(?::(-?\d+))?$/.exec(text) ?? [];
  if (name === '') throw refused(`the ulimit ${JSON.stringify(text)} is none: name=soft[:hard] is`);
  return { Name: name, Soft: Number(soft), Hard: Number(hard) };
}

function prefixed(options: FrontendOptions, prefix: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [name.slice(prefix.length), value]),
  );
}

function list(text: string): string[] {
  return text.split(',').filter((one) => one !== '');
}

function newDirectory({ directory }: BuildParts): string {
  return join(directory, 'contexts', randomBytes(16).toString('hex'));
}

function newSpool(parts: BuildParts): Spool {
  return new Spool(`${newDirectory(parts)}.spool`);
}

/** The text of a file; undefined when there is none, or it is no file. */
function textOf(tree: SpooledTree, path: string): string | undefined {
  return textOfTree(tree, posix.join('/', path));
}

function refused(message: string, code = Code.InvalidArgument): ConnectError {
  return new ConnectError(message, code);
}
