/**
 * The first try of a build in a directory: the daemon is told what is in it now, and if that is what it has kept, and all
 * else is known as well, it is done with one request. Everything that BuildKit's API needs is loaded after that.
 */
import { readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { listingDigest } from '../../buildkit/wire/listing.ts';
import type { FilesToSend } from '../../buildkit/wire/send-files.ts';
import { ignorePatterns } from '../../ignore-file.ts';
import type { Cli } from '../cli.ts';
import { DaemonError } from '../errors.ts';
import { localFiles } from './local-files.ts';
import { placeKey, type BuildOptions } from './options.ts';
import type { StatusMessage } from './progress.ts';
import { showBuild } from './view.ts';

/** A directory that was looked through, and what was left out. */
export interface Listed {
  root: string;
  exclude: readonly string[];
  files: FilesToSend;
}

/** What became of the try. */
export type Tried =
  /** It is done; the exporters say so. */
  | { metadata: Record<string, string> }
  /** There is more to do. What is listed need not be listed again. */
  | { metadata?: undefined; listed: Listed | undefined };

export async function tryUnchanged(cli: Cli, options: BuildOptions): Promise<Tried> {
  const { source, file, frontend, names, progress } = options;
  if (source.kind !== 'directory' || !isPlain(options)) return { listed: undefined };
  const root = resolve(cli.workingDirectory, source.path);
  const path = file === '' ? join(root, 'Dockerfile') : resolve(cli.workingDirectory, file);
  const dockerfile = textOf(path);
  if (dockerfile === undefined) return { listed: undefined };
  const exclude = ignorePatterns(textOf(`${path}.dockerignore`) ?? textOf(join(root, '.dockerignore')) ?? '');
  const listed = { root, exclude, files: localFiles(root, { include: [], exclude }) };
  const asked = {
    place: placeKey(root),
    listing: listingDigest(listed.files.entries),
    dockerfile,
    ignore: exclude,
    names: names.join(','),
    options: { ...frontend, filename: basename(path) },
  };
  let built: { status: PlainStatus; response: Record<string, string> };
  try {
    built = await cli.client.json('POST', '/build/unchanged', { json: asked });
  } catch (error) {
    // something has changed, or the daemon does not know of this
    if (error instanceof DaemonError) return { listed };
    throw error;
  }
  using shown = showBuild(cli, progress);
  const { vertexes, ...more } = revived(built.status);
  const none = { vertexes: [], statuses: [], logs: [], warnings: [] };
  // step by step, as if it took its time
  for (const vertex of vertexes) shown.take({ ...none, vertexes: [vertex] });
  shown.take({ ...none, ...more });
  return { metadata: built.response };
}

/** Whether a build takes nothing but one directory, and makes nothing but an image here. */
function isPlain({
  dockerfile,
  frontend,
  contexts,
  secrets,
  agents,
  output,
  cacheFrom,
  cacheTo,
}: BuildOptions): boolean {
  const more = contexts.size + secrets.size + agents.size + cacheFrom.length + cacheTo.length > 0;
  const { platform = '' } = frontend;
  const asksAnew = frontend['no-cache'] !== undefined || frontend['image-resolve-mode'] !== undefined;
  return !(dockerfile || output || more || asksAnew || platform.includes(','));
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // the ordinary way says what is wrong with it
    return undefined;
  }
}

/** A message whose bytes come as base64. */
type PlainStatus = Pick<StatusMessage, 'vertexes' | 'statuses'> & {
  logs: (Omit<StatusMessage['logs'][number], 'msg'> & { msg: string })[];
  warnings: { short: string; url: string; detail: string[] }[];
};

function revived({ vertexes, statuses, logs, warnings }: PlainStatus): StatusMessage {
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'base64');
  return {
    vertexes,
    statuses,
    logs: logs.map((log) => ({ ...log, msg: bytes(log.msg) })),
    warnings: warnings.map((one) => ({ ...one, short: bytes(one.short), detail: one.detail.map(bytes) })),
  };
}
