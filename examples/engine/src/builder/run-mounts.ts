/** `RUN --mount`: files that are there while a command runs, and no part of what it makes. */
import { randomBytes } from 'node:crypto';
import { copyFile, lstat, mkdir, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';

import { followLinks } from '../containers/trees.ts';
import { expandIn, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError, StepError } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { BuildSecrets } from './request.ts';
import type { CommandMount, SolverParts } from './seams.ts';
import { SecretMounts } from './secret-mounts.ts';

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

const FIELDS: Readonly<Record<RunMount['type'], readonly string[]>> = {
  bind: ['from', 'source', 'src', 'rw', 'readwrite', 'ro', 'readonly'],
  cache: [
    'id',
    'from',
    'source',
    'src',
    'sharing',
    'ro',
    'readonly',
    'rw',
    'readwrite',
    'mode',
    'uid',
    'gid',
  ],
  tmpfs: ['size'],
  secret: ['id', 'env', 'required', 'mode', 'uid', 'gid'],
  ssh: ['id', 'required', 'mode', 'uid', 'gid'],
};
const TARGET = ['target', 'dst', 'destination'];

/**
 * Reads the value of one flag.
 *
 * @param cacheNamespace - keeps caches apart that have the same id
 * @throws {DockerfileError}
 */
export function parseMount(
  instruction: Instruction,
  text: string,
  words: WordContext,
  cacheNamespace?: string,
): RunMount {
  const wrong = (message: string): never => {
    throw new DockerfileError(message, instruction);
  };
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const key = (at < 0 ? part : part.slice(0, at)).toLowerCase();
    const value = at < 0 ? 'true' : part.slice(at + 1);
    // which stages are needed is known before any variable is
    if (key === 'from' && value.includes('$')) {
      wrong("'from' doesn't support variable expansion, define alias stage instead");
    }
    fields.set(key, key === 'from' ? value : expandIn(instruction, value, words));
  }
  const get = (...keys: string[]): string | undefined =>
    keys.map((key) => fields.get(key)).find((value) => value !== undefined);
  const flag = (...keys: string[]): boolean => {
    const value = get(...keys) ?? 'false';
    if (!/^(?:true|false|1|0)$/i.test(value)) wrong(`invalid value for '${keys[0]}': ${value}`);
    return /^(?:true|1)$/i.test(value);
  };
  const number = (key: string, pattern: RegExp, base: number): number | undefined => {
    const value = get(key);
    if (value !== undefined && !pattern.test(value)) wrong(`invalid value for '${key}': ${value}`);
    return value === undefined ? undefined : Number.parseInt(value, base);
  };
  const type = get('type') ?? 'bind';
  if (!isMountType(type)) return wrong(`unsupported mount type ${JSON.stringify(type)}`);
  for (const key of fields.keys()) {
    if (key !== 'type' && !TARGET.includes(key) && !FIELDS[type].includes(key)) {
      wrong(`unexpected key '${key}' for mount type '${type}'`);
    }
  }
  const env = get('env');
  const target = get(...TARGET);
  if (type === 'secret' && (get('id') ?? target ?? env) === undefined) {
    wrong('--mount=type=secret needs an id, a target or an env');
  }
  if (target === undefined && type !== 'ssh' && type !== 'secret') {
    wrong(`--mount=type=${type} needs a target`);
  }
  const sharing = get('sharing') ?? 'shared';
  if (sharing !== 'shared' && sharing !== 'private' && sharing !== 'locked') {
    return wrong(`unsupported sharing value ${JSON.stringify(sharing)}`);
  }
  const id = get('id') ?? defaultId(type, target ?? env ?? '');
  return {
    type,
    target: target ?? '',
    source: get('source', 'src') ?? '/',
    from: get('from'),
    id: type === 'cache' && cacheNamespace !== undefined ? `${cacheNamespace}/${id}` : id,
    readOnly: type === 'bind' ? !flag('rw', 'readwrite') : flag('ro', 'readonly'),
    sharing,
    required: flag('required'),
    mode: number('mode', /^[0-7]{1,5}$/, 8),
    uid: number('uid', /^\d{1,10}$/, 10) ?? 0,
    gid: number('gid', /^\d{1,10}$/, 10) ?? 0,
    sizeBytes: parseSize(get('size'), wrong),
    env,
  };
}

function isMountType(type: string): type is RunMount['type'] {
  return Object.hasOwn(FIELDS, type);
}

function defaultId(type: RunMount['type'], name: string): string {
  if (type === 'ssh') return 'default';
  return type === 'secret' ? posix.basename(name) : posix.resolve('/', name);
}

const UNITS = 'bkmgt';

/** Bytes, or with a unit: `64m`. */
function parseSize(text: string | undefined, wrong: (message: string) => never): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit = 'b'] = /^(\d{1,15})([bkmgt])?(?:i?b)?$/i.exec(text) ?? [];
  if (digits === undefined) return wrong(`invalid value for 'size': ${text}`);
  return Number(digits) * 1024 ** UNITS.indexOf(unit.toLowerCase());
}

/** A path of the host with the files that a mount is from: the context's, a stage's or an image's. */
export type SourceOf = (from: string | undefined) => Promise<string>;

/** What mounts are made with. */
export interface MountPlace {
  sourceOf: SourceOf;
  secrets: BuildSecrets | undefined;
  signal: AbortSignal;
}

type MountParts = Pick<SolverParts, 'cache' | 'trees' | 'directory'>;

/** Mounts of a command, and variables that go with them. */
export interface CommandMounts {
  mounts: CommandMount[];
  env: string[];
}

/**
 * The mounts as those of a command.
 *
 * @param held - gets what gives caches back that are not shared, and what removes secrets
 * @throws {DockerfileError} for a required secret that was not given
 */
export async function commandMounts(
  parts: MountParts,
  { mounts, instruction }: { mounts: readonly RunMount[]; instruction: Instruction },
  place: MountPlace,
  held: AsyncDisposableStack,
): Promise<CommandMounts> {
  const result: CommandMounts = { mounts: [], env: [] };
  const secrets = new SecretMounts(parts, place, held);
  for (const mount of mounts) {
    const { type, readOnly } = mount;
    if (type === 'secret' || type === 'ssh') {
      const given = type === 'ssh' ? await secrets.agent(mount, result) : await secrets.secret(mount, result);
      if (!given && mount.required) {
        throw new StepError(`${type} ${mount.id}: not found`, instruction);
      }
      continue;
    }
    const target = posix.resolve('/', mount.target);
    if (type === 'tmpfs') {
      result.mounts.push({ type, target, sizeBytes: mount.sizeBytes });
      continue;
    }
    const source =
      type === 'cache'
        ? await cacheDirectory(parts, mount, place, held)
        : await bindSource(parts, mount, place);
    const own = type === 'bind' && !readOnly ? await writableCopy(parts, source, place, held) : source;
    result.mounts.push({ type: 'bind', source: own, target, readOnly });
  }
  return result;
}

/** What a command writes to a bind mount is thrown away: it gets files of its own. */
async function writableCopy(
  parts: MountParts,
  source: string,
  place: MountPlace,
  held: AsyncDisposableStack,
): Promise<string> {
  const copy = join(parts.directory, 'contexts', `rw-${randomBytes(8).toString('hex')}`);
  held.defer(() => rm(copy, { recursive: true, force: true }));
  await copyTree(parts, source, copy, place);
  return copy;
}

/** Copies a file, or a directory with the owners, modes and links in it. */
async function copyTree(
  { trees }: MountParts,
  source: string,
  target: string,
  { signal }: MountPlace,
): Promise<void> {
  if (!(await lstat(source)).isDirectory()) return copyFile(source, target);
  await mkdir(target, { recursive: true });
  await trees.extract(trees.pack(source, '/', '.', { signal }), target, '/', { sameKind: false, signal });
}

/** A cache that is new begins with the files of its source. */
async function cacheDirectory(
  parts: MountParts,
  mount: RunMount,
  place: MountPlace,
  held: AsyncDisposableStack,
): Promise<string> {
  const seed =
    mount.from === undefined
      ? undefined
      : async (directory: string): Promise<void> =>
          copyTree(parts, await bindSource(parts, mount, place), directory, place);
  return parts.cache.mounts.acquire({ ...mount, seed }, held);
}

async function bindSource(
  { trees }: MountParts,
  { from, source }: RunMount,
  { sourceOf }: MountPlace,
): Promise<string> {
  const root = await sourceOf(from);
  return join(root, followLinks(trees, root, posix.resolve('/', source)));
}
