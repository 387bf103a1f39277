/** `RUN --mount`: files that are there while a command runs, and no part of what it makes. */
import { randomBytes } from 'node:crypto';
import { cp, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';

import type { HostConfig } from '../containers/host-config.ts';
import { followLinks } from '../containers/trees.ts';
import { expandIn, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import { SecretMounts } from './secret-mounts.ts';
import type { BuildParts, BuildSecrets } from './state.ts';

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
  /** With a secret: the variable that has it. */
  env: string | undefined;
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
  const env = type === 'secret' ? get('env') : undefined;
  const target = get('target', 'dst', 'destination');
  if (type === 'secret' && id === undefined && target === undefined && env === undefined) {
    throw new DockerfileError('--mount=type=secret needs an id, a target or an env', instruction);
  }
  if (target === undefined && type !== 'ssh' && type !== 'secret') {
    throw new DockerfileError(`--mount=type=${type} needs a target`, instruction);
  }
  const sharing = get('sharing') ?? 'shared';
  if (sharing !== 'shared' && sharing !== 'private' && sharing !== 'locked') {
    throw new DockerfileError(`unsupported sharing value ${JSON.stringify(sharing)}`, instruction);
  }
  const writable = get('rw', 'readwrite') === 'true';
  const mode = get('mode');
  const size = get('size');
  return {
    type,
    target: target ?? '',
    source: get('source', 'src') ?? '/',
    from: get('from'),
    id:
      id ??
      (type === 'ssh' ? 'default' : type === 'secret' ? posix.basename(target ?? env ?? '') : (target ?? '')),
    readOnly: type === 'bind' ? !writable : get('ro', 'readonly') === 'true',
    sharing,
    required: get('required') === 'true',
    mode: mode === undefined ? undefined : Number.parseInt(mode, 8),
    uid: Number(get('uid') ?? 0),
    gid: Number(get('gid') ?? 0),
    sizeBytes: size !== undefined && /^\d+$/.test(size) ? Number(size) : undefined,
    env,
  };
}

function isMountType(type: string): type is RunMount['type'] {
  return ['bind', 'cache', 'tmpfs', 'secret', 'ssh'].includes(type);
}

/** A path of the host with the files that a bind mount is from: the context's, a stage's or an image's. */
export type SourceOf = (from: string | undefined) => Promise<string>;

/** What mounts are made with. */
export interface MountPlace {
  sourceOf: SourceOf;
  secrets: BuildSecrets | undefined;
}

/** Mounts as a container's. */
export interface ContainerMounts {
  mounts: NonNullable<HostConfig['Mounts']>;
  /** Where they are: no part of the layer. */
  mountPoints: string[];
  /** Variables that go with them. */
  env: string[];
}

/**
 * The mounts as those of a container, and where in its file system they are.
 *
 * @param held - gets what gives caches back that are not shared, and what removes secrets
 * @throws {DockerfileError} for a required secret that was not given
 */
export async function containerMounts(
  parts: BuildParts,
  { mounts, instruction }: { mounts: readonly RunMount[]; instruction: Instruction },
  place: MountPlace,
  held: AsyncDisposableStack,
): Promise<ContainerMounts> {
  const result: ContainerMounts = { mounts: [], mountPoints: [], env: [] };
  const secrets = new SecretMounts(parts, place, held);
  for (const mount of mounts) {
    if (mount.type === 'secret' || mount.type === 'ssh') {
      const given =
        mount.type === 'ssh' ? await secrets.agent(mount, result) : await secrets.secret(mount, result);
      if (!given && mount.required) {
        throw new DockerfileError(`${mount.type} ${mount.id}: not found`, instruction);
      }
      continue;
    }
    const target = posix.resolve('/', mount.target);
    result.mountPoints.push(target);
    if (mount.type === 'tmpfs') {
      result.mounts.push({
        Type: 'tmpfs',
        Target: target,
        ...(mount.sizeBytes === undefined ? {} : { TmpfsOptions: { SizeBytes: mount.sizeBytes } }),
      });
      continue;
    }
    const source =
      mount.type === 'cache'
        ? await parts.cache.mounts.acquire(mount, held)
        : await bindSource(parts, mount, place.sourceOf);
    if (mount.type === 'bind' && !mount.readOnly) {
      const copy = await writableCopy(parts, source, held);
      result.mounts.push({ Type: 'bind', Source: copy, Target: target, ReadOnly: false });
      continue;
    }
    result.mounts.push({ Type: 'bind', Source: source, Target: target, ReadOnly: mount.readOnly });
  }
  return result;
}

/** What a command writes to a bind mount is thrown away: it gets files of its own. */
async function writableCopy(
  { directory }: BuildParts,
  source: string,
  held: AsyncDisposableStack,
): Promise<string> {
  const copy = join(directory, 'contexts', `rw-${randomBytes(8).toString('hex')}`);
  held.defer(() => rm(copy, { recursive: true, force: true }));
  await cp(source, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  return copy;
}

async function bindSource({ trees }: BuildParts, mount: RunMount, sourceOf: SourceOf): Promise<string> {
  const root = await sourceOf(mount.from);
  return join(root, followLinks(trees, root, posix.resolve('/', mount.source)));
}
