/** The options of `dockerfile.v0` → a build: where its files come from and how it is limited. */
import { parsePlatform, type Platform } from '@tare/image-spec';
import { Code } from '@connectrpc/connect';
import { z } from 'zod';

import type { BuildRequest, CacheSource, ContextFiles, NamedContext, RunLimits } from '../builder/request.ts';
import { openContext, openGitContext } from '../builder/context.ts';
import { parseGitReference } from '../builder/git.ts';
import { registryCache } from '../builder/in-engine/push.ts';
import { hostConfigSchema } from '../containers/host-config.ts';
import { decodeJson } from '../http/json.ts';
import type { RegistryAuth } from '../images/remote.ts';
import { ignoreRules } from '../ignore-file.ts';
import { localCache } from './caches.ts';
import {
  ClientFiles,
  newDirectory,
  refused,
  remoteContext,
  textOf,
  unpackRemote,
  type FrontendPlace,
} from './client-files.ts';
import { credentials } from './credentials.ts';
import { sessionSecrets } from './secrets.ts';

export type FrontendOptions = Readonly<Record<string, string>>;

/** What a client asks for. */
export interface FrontendRequest {
  /** One for each platform. They share the files of the client. */
  requests: readonly [BuildRequest, ...BuildRequest[]];
  /** Whether the results are those of platforms, even if it is only one. */
  byPlatform: boolean;
}

/** Reads the options and the Dockerfile. Other files are taken from the client when a step needs them. */
export async function readFrontendOptions(
  options: FrontendOptions,
  place: FrontendPlace,
): Promise<FrontendRequest> {
  const [first, ...more] = platformsOf(options);
  const request = await readRequest(options, place);
  return {
    requests: [{ ...request, platform: first }, ...more.map((platform) => ({ ...request, platform }))],
    byPlatform: more.length > 0 || options['multi-platform'] === 'true',
  };
}

async function readRequest(
  options: FrontendOptions,
  place: FrontendPlace,
): Promise<Omit<BuildRequest, 'platform'>> {
  const { session } = place;
  const files = await openFiles(options, new ClientFiles(place), place);
  const auth = (registry: string) => credentials(session, registry);
  return {
    ...requestOptions(options),
    ...files,
    contexts: namedContexts(options, new ClientFiles(place), place),
    secrets: sessionSecrets(session),
    cacheFrom: cacheSources(options, place, auth),
    entitlements: place.entitlements,
    auth,
  };
}

/** The platforms that are built for; none for that of the engine. */
export function platformsOf(options: FrontendOptions): Platform[] {
  return [...new Set(list(options['platform'] ?? ''))].map(parsePlatform);
}

/** What options say, but for platforms, files, credentials and caches. */
export function requestOptions(options: FrontendOptions) {
  const noCache = options['no-cache'];
  return {
    target: options['target'] ?? '',
    buildArgs: prefixed(options, 'build-arg:'),
    labels: prefixed(options, 'label:'),
    noCache:
      noCache === undefined ? false : noCache === '' || list(noCache).map((name) => name.toLowerCase()),
    pull: options['image-resolve-mode'] === 'pull',
    limits: limitsOf(options),
  } satisfies Partial<BuildRequest>;
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
    const { trees, syscalls, hasher } = parts;
    const where = { trees, syscalls, hasher, directory, dockerfile: filename, signal };
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
