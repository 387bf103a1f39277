/** `RUN --mount`: files that are there while a command runs, and no part of what it makes. */
import { createHash } from 'node:crypto';
import { chmod, chown, mkdir } from 'node:fs/promises';
import { join, posix } from 'node:path';

import type { HostConfig } from '../containers/host-config.ts';
import { followLinks } from '../containers/trees.ts';
import { expandIn, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { BuildParts } from './state.ts';

/** One `--mount`. */
export interface RunMount {
  type: 'bind' | 'cache' | 'tmpfs' | 'secret' | 'ssh';
  target: string;
  source: string;
  /** A stage or image; undefined for the context. */
  from: string | undefined;
  id: string;
  readOnly: boolean;
  sharing: 'shared' | 'private' | 'locked';
  required: boolean;
  mode: number | undefined;
  uid: number;
  gid: number;
  sizeBytes: number | undefined;
}

/** Reads the value of one flag. @throws {DockerfileError} */
export function parseMount(instruction: Instruction, text: string, words: WordContext): RunMount {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const key = (at < 0 ? part : part.slice(0, at)).toLowerCase();
    const value = at < 0 ? 'true' : part.slice(at + 1);
    fields.set(key, key === 'from' ? value : expandIn(instruction, value, words));
  }
  const get = (...keys: string[]): string | undefined =>
    keys.map((key) => fields.get(key)).find((value) => value !== undefined);
  const type = get('type') ?? 'bind';
  if (!isMountType(type))
    throw new DockerfileError(`unsupported mount type ${JSON.stringify(type)}`, instruction);
  const id = get('id');
  const target =
    get('target', 'dst', 'destination') ?? (type === 'secret' && id ? `/run/secrets/${id}` : undefined);
  if (target === undefined && type !== 'ssh' && type !== 'secret') {
    throw new DockerfileError(`--mount=type=${type} needs a target`, instruction);
  }
  const sharing = get('sharing') ?? 'shared';
  if (sharing !== 'shared' && sharing !== 'private' && sharing !== 'locked') {
    throw new DockerfileError(`unsupported sharing value ${JSON.stringify(sharing)}`, instruction);
  }
  const writable = get('rw', 'readwrite') === 'true';
  if (type === 'bind' && writable) {
    throw new DockerfileError('--mount=type=bind,rw is not supported by this builder yet', instruction);
  }
  const mode = get('mode');
  const size = get('size');
  return {
    type,
    target: target ?? '',
    source: get('source', 'src') ?? '/',
    from: get('from'),
    id: id ?? target ?? '',
    readOnly: type === 'bind' || get('ro', 'readonly') === 'true',
    sharing,
    required: get('required') === 'true',
    mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
    uid: Number(get('uid') ?? 0),
    gid: Number(get('gid') ?? 0),
    sizeBytes: size !== undefined && /^\d+$/.test(size) ? Number(size) : undefined,
  };
}

function isMountType(type: string): type is RunMount['type'] {
  return ['bind', 'cache', 'tmpfs', 'secret', 'ssh'].includes(type);
}

/** Cache mounts that are in use and not to be shared, by their directory. */
const cacheLocks = new Map<string, Promise<void>>();

/** A path of the host with the files that a bind mount is from: the context's, a stage's or an image's. */
export type SourceOf = (from: string | undefined) => Promise<string>;

/**
 * The mounts as those of a container, and where in its file system they are.
 *
 * @param locks - gets what gives caches back that are not shared
 * @throws {DockerfileError} for a required secret that was not given
 */
export async function containerMounts(
  parts: BuildParts,
  { mounts, instruction }: { mounts: readonly RunMount[]; instruction: Instruction },
  sourceOf: SourceOf,
  locks: AsyncDisposableStack,
): Promise<{ mounts: NonNullable<HostConfig['Mounts']>; mountPoints: string[] }> {
  const result: NonNullable<HostConfig['Mounts']> = [];
  const mountPoints: string[] = [];
  for (const mount of mounts) {
    const target = posix.resolve('/', mount.target);
    if (mount.type === 'secret' || mount.type === 'ssh') {
      if (mount.required) {
        throw new DockerfileError(
          `the ${mount.type} ${mount.id || 'default'} was not given to this build`,
          instruction,
        );
      }
      continue;
    }
    mountPoints.push(target);
    if (mount.type === 'tmpfs') {
      result.push({
        Type: 'tmpfs',
        Target: target,
        ...(mount.sizeBytes === undefined ? {} : { TmpfsOptions: { SizeBytes: mount.sizeBytes } }),
      });
      continue;
    }
    const source =
      mount.type === 'cache'
        ? await cacheDirectory(parts, mount, locks)
        : await bindSource(parts, mount, sourceOf);
    result.push({ Type: 'bind', Source: source, Target: target, ReadOnly: mount.readOnly });
  }
  return { mounts: result, mountPoints };
}

async function bindSource({ trees }: BuildParts, mount: RunMount, sourceOf: SourceOf): Promise<string> {
  const root = await sourceOf(mount.from);
  return join(root, followLinks(trees, root, posix.resolve('/', mount.source)));
}

async function cacheDirectory(
  { directory }: BuildParts,
  { id, sharing, mode = 0o755, uid, gid }: RunMount,
  locks: AsyncDisposableStack,
): Promise<string> {
  const name = createHash('sha256').update(id).digest('hex');
  let path = join(directory, 'cache', name);
  if (sharing === 'private') {
    // one of one's own while the first is taken
    for (let copy = 1; cacheLocks.has(path); copy += 1) path = join(directory, 'cache', `${name}-${copy}`);
  }
  if (sharing !== 'shared') {
    while (cacheLocks.has(path)) await cacheLocks.get(path);
    const { promise, resolve } = Promise.withResolvers<void>();
    cacheLocks.set(path, promise);
    locks.defer(() => {
      cacheLocks.delete(path);
      resolve();
    });
  }
  if ((await mkdir(path, { recursive: true })) !== undefined) {
    await chmod(path, mode);
    await chown(path, uid, gid);
  }
  return path;
}
