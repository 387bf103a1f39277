/** One build through BuildKit's API: what the flags ask for, done by the daemon, shown while it is done. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { Cli } from '../cli.ts';
import { CliError } from '../errors.ts';
import type { ProgressMode } from '../progress.ts';
import { openBuildConnection, type BuildConnection } from './connection.ts';
import { cacheDigest, nameCache } from './local-cache.ts';
import { placeKey, type BuildOptions } from './options.ts';
import type { Output } from './outputs.ts';
import { offeredServices, type Offer } from './services.ts';
import type { Listed } from './unchanged.ts';
import { showBuild } from './view.ts';

/**
 * Builds.
 *
 * @param listed - the context, when it was looked through a moment ago
 * @returns what the exporters say: `containerimage.config.digest` and the like
 */
export async function buildImage(
  cli: Cli,
  options: BuildOptions,
  listed?: Listed,
): Promise<Record<string, string>> {
  await using held = new AsyncDisposableStack();
  const { offer: prepared, frontend, cacheFrom } = await prepare(cli, options, held);
  const offer = { ...prepared, listed };
  const key = placeKey(offer.directories.get('context'));
  await using connection = await openBuildConnection(cli.client, offeredServices(cli, offer), key);
  const ref = randomBytes(16).toString('hex');
  const { output, names, cacheTo, entitlements } = options;
  const solving = connection.control
    .solve({
      ref,
      session: connection.sessionId,
      frontend: 'dockerfile.v0',
      frontendAttrs: { ...frontend, 'cache-imports': JSON.stringify(cacheFrom) },
      exporters: [exporterOf(output, names)],
      cache: {
        exports: cacheTo.map(({ type, attributes }) => ({ type, attrs: cacheAttributes(cli, attributes) })),
      },
      entitlements: [...entitlements],
    })
    .catch(async (error: unknown) => {
      throw await buildFailure(error);
    });
  // the error of the build is told, not that of its progress
  const [solved, shown] = await Promise.allSettled([solving, show(cli, connection, ref, options.progress)]);
  if (solved.status === 'rejected') throw solved.reason;
  if (shown.status === 'rejected') throw shown.reason;
  const { exporterResponse } = solved.value;
  for (const { type, attributes } of cacheTo) {
    const manifest = exporterResponse['cache.manifest'];
    if (type !== 'local' || manifest === undefined) continue;
    await nameCache(
      cacheAttributes(cli, attributes)['dest']!,
      JSON.parse(manifest) as object,
      attributes['tag'],
    );
  }
  return exporterResponse;
}

/** Asks a question about the Dockerfile. @returns the answer for people, and whether it is bad news */
export async function askAbout(
  cli: Cli,
  question: string,
  options: BuildOptions,
): Promise<{ text: string; json: unknown; failed: boolean }> {
  await using held = new AsyncDisposableStack();
  const { offer, frontend } = await prepare(cli, options, held);
  await using connection = await openBuildConnection(cli.client, offeredServices(cli, offer));
  const ref = randomBytes(16).toString('hex');
  const solving = connection.control.solve({ ref, session: connection.sessionId });
  solving.catch(() => undefined);
  const headers = { 'buildkit-controlapi-buildid': ref };
  try {
    const { result } = await connection.bridge.solve(
      {
        frontend: 'dockerfile.v0',
        frontendOpt: { ...frontend, requestid: question },
        allowResultReturn: true,
      },
      { headers },
    );
    await connection.bridge.return({}, { headers });
    await solving;
    const text = (name: string): string => Buffer.from(result?.metadata[name] ?? []).toString('utf8');
    return {
      text: text('result.txt'),
      json: JSON.parse(text('result.json') || '{}'),
      failed: text('result.statuscode') === '1',
    };
  } catch (error) {
    throw await buildFailure(error);
  }
}

/** Errors are read with what a build that succeeds need not load. */
async function buildFailure(error: unknown): Promise<unknown> {
  const { toCliError } = await import('./failure.ts');
  return toCliError(error);
}

const UPLOAD_PATH = '/context';

/** @param held - gets what removes files that were made for the build */
async function prepare(cli: Cli, options: BuildOptions, held: AsyncDisposableStack) {
  const { source, file, dockerfile } = options;
  const directories = new Map<string, string>();
  const frontend: Record<string, string> = { ...options.frontend };
  let upload: Offer['upload'];
  const temporary = async (): Promise<string> => {
    const directory = await mkdtemp(join(tmpdir(), 'tare-build-'));
    held.defer(() => rm(directory, { recursive: true, force: true }));
    return directory;
  };
  if (file !== '') frontend['filename'] = file;
  if (source.kind === 'archive') {
    upload = { path: UPLOAD_PATH, data: source.data };
    frontend['context'] = `http://buildkit-session${UPLOAD_PATH}`;
  } else if (source.kind === 'address') frontend['context'] = source.url;
  else {
    const root = source.kind === 'nothing' ? await temporary() : resolve(cli.workingDirectory, source.path);
    if (source.kind === 'directory') await mustBeDirectory(root, source.path);
    directories.set('context', root);
    const path = file === '' ? join(root, 'Dockerfile') : resolve(cli.workingDirectory, file);
    directories.set('dockerfile', dirname(path));
    frontend['filename'] = basename(path);
  }
  if (dockerfile) {
    const directory = await temporary();
    await writeFile(join(directory, 'Dockerfile'), dockerfile);
    directories.set('dockerfile', directory);
    frontend['filename'] = 'Dockerfile';
  }
  for (const [name, value] of options.contexts) {
    const isDirectory = !/^[a-z-]+:\/\//.test(value) && !value.startsWith('git@');
    if (isDirectory) {
      const root = resolve(cli.workingDirectory, value);
      await mustBeDirectory(root, value);
      directories.set(name, root);
    }
    frontend[`context:${name}`] = isDirectory ? `local:${name}` : value;
  }
  const caches = new Map<string, string>();
  for (const { type, attributes } of [...options.cacheFrom, ...options.cacheTo]) {
    const { src, dest } = cacheAttributes(cli, attributes);
    const directory = src ?? dest;
    if (type === 'local' && directory !== undefined) caches.set(`local:${directory}`, directory);
  }
  const cacheFrom = await Promise.all(
    options.cacheFrom.map(async ({ type, attributes }) => {
      const attrs = cacheAttributes(cli, attributes);
      if (type === 'local' && attrs['src'] !== undefined) {
        attrs['digest'] ??= await cacheDigest(attrs['src'], attrs['tag']);
      }
      return { Type: type, Attrs: attrs };
    }),
  );
  const { secrets, agents, output } = options;
  return { offer: { directories, upload, secrets, agents, output, caches }, frontend, cacheFrom };
}

/** Paths in attributes of caches are those of this machine. */
function cacheAttributes(cli: Cli, attributes: Readonly<Record<string, string>>): Record<string, string> {
  const whole = { ...attributes };
  for (const name of ['src', 'dest']) {
    if (whole[name] !== undefined) whole[name] = resolve(cli.workingDirectory, whole[name]);
  }
  return whole;
}

async function mustBeDirectory(path: string, given: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new CliError(`unable to prepare context: path ${JSON.stringify(given)} not found`);
  if (!found.isDirectory()) {
    throw new CliError(`unable to prepare context: context must be a directory: ${path}`);
  }
}

function exporterOf(output: Output | undefined, names: readonly string[]) {
  const name = names.join(',');
  if (!output) return { type: 'moby', attrs: { name } };
  const own = output.attributes['name'] ?? name;
  return {
    type: output.type === 'image' ? 'moby' : output.type,
    attrs: { ...output.attributes, ...(own === '' ? {} : { name: own }) },
  };
}

async function show(cli: Cli, { control }: BuildConnection, ref: string, mode: ProgressMode): Promise<void> {
  using shown = showBuild(cli, mode);
  for await (const message of control.status({ ref })) shown.take(message);
}
