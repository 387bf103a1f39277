/** Where a container's mounts come from: `Binds`, `Mounts`, the image's volumes, other containers. Pure. */
import { posix } from 'node:path';

import { invalid } from '../errors.ts';
import type { MountPoint } from './container.ts';
import type { MountRequest } from './host-config.ts';

const PROPAGATIONS = new Set(['private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared']);
const LABEL_MODES = new Set(['z', 'Z']);
const ACCESS_MODES = new Set(['rw', 'ro']);
const COPY_MODES = new Set(['nocopy']);
const CONSISTENCIES = new Set(['consistent', 'cached', 'delegated', 'default']);
const MODE_GROUPS = [PROPAGATIONS, LABEL_MODES, ACCESS_MODES, COPY_MODES, CONSISTENCIES];

/** What a container's mounts are made from. */
export interface MountSources {
  binds: readonly string[];
  mounts: readonly MountRequest[];
  /** `Config.Volumes`: destinations, of the client and of the image. */
  volumes: readonly string[];
  /** `HostConfig.Tmpfs`: destinations that hide volumes. */
  tmpfs: readonly string[];
  /** `VolumesFrom`, resolved: the mounts of the other containers. */
  inherited: readonly MountPoint[];
  volumeDriver: string;
  /** Read-only binds are read-only themselves, not what is mounted below them. */
  readOnlyNonRecursive?: boolean;
  /** A name for an anonymous volume. */
  newVolumeName(): string;
}

/**
 * Every mount of a container. Volumes have their name; their source is filled in by who makes them.
 *
 * @throws {EngineError} `INVALID` in dockerd's words
 */
export function containerMounts(sources: MountSources): MountPoint[] {
  const byDestination = new Map(sources.inherited.map((mount) => [mount.destination, mount]));
  const own = new Set<string>();
  const add = (mount: MountPoint): void => {
    if (own.has(mount.destination)) throw invalid(`Duplicate mount point: ${mount.destination}`);
    own.add(mount.destination);
    byDestination.set(mount.destination, mount);
  };
  for (const bind of sources.binds) add(parseBind(bind, sources));
  for (const mount of sources.mounts) add(parseMount(mount, sources));
  const tmpfs = new Set(sources.tmpfs.map((path) => posix.normalize(path)));
  for (const volume of sources.volumes) {
    const destination = cleanDestination('volume', volume);
    if (byDestination.has(destination) || tmpfs.has(destination)) continue;
    byDestination.set(destination, anonymousVolume(destination, sources));
  }
  const mounts = [...byDestination.values()].map((mount) =>
    sources.readOnlyNonRecursive && mount.type === 'bind' && !mount.readWrite
      ? { ...mount, readOnlyNonRecursive: true }
      : mount,
  );
  return mounts.sort((a, b) => depth(a.destination) - depth(b.destination));
}

/** Path components: parents are mounted before what is below them. */
export function depth(path: string): number {
  return path.split('/').filter((part) => part !== '').length;
}

/** Parses `source:destination[:mode]`, `destination`, or `volume:destination[:mode]`. */
function parseBind(raw: string, sources: MountSources): MountPoint {
  const refused = (why?: string): Error =>
    invalid(`invalid volume specification: '${raw}'${why === undefined ? '' : `: ${why}`}`);
  const parts = raw.split(':');
  if (parts.length > 3 || parts[0] === '') throw refused();
  if (parts.length === 2 && parts[1] !== '' && isMode(parts[1]!)) throw refused();
  const [first = '', second, mode = ''] = parts;
  if (!isMode(mode)) throw invalid(`invalid mode: ${mode}`);
  let destination: string;
  try {
    destination = cleanDestination(first.startsWith('/') ? 'bind' : 'volume', second ?? first);
  } catch (error) {
    throw refused((error as Error).message);
  }
  if (second === undefined) return anonymousVolume(destination, sources);
  const words = new Set(mode.split(','));
  const readWrite = !words.has('ro');
  if (first.startsWith('/')) {
    const propagation = [...words].find((word) => PROPAGATIONS.has(word)) ?? 'rprivate';
    return { type: 'bind', source: posix.normalize(first), destination, mode, readWrite, propagation };
  }
  checkVolumeName(first);
  // dockerd shows the shared label mode for named volumes that have none
  return {
    ...volume(first, destination, sources, { mode: mode === '' ? 'z' : mode, readWrite }),
    ...(words.has('nocopy') ? { noCopy: true } : {}),
  };
}

function isMode(mode: string): boolean {
  if (mode === '') return true;
  const words = mode.split(',');
  return (
    words.every((word) => MODE_GROUPS.some((group) => group.has(word))) &&
    MODE_GROUPS.every((group) => words.filter((word) => group.has(word)).length <= 1)
  );
}

/** Which options each type takes. */
const OPTIONS_OF = {
  bind: 'BindOptions',
  volume: 'VolumeOptions',
  tmpfs: 'TmpfsOptions',
  image: 'ImageOptions',
} as const;

function parseMount(request: MountRequest, sources: MountSources): MountPoint {
  const { Type: type = '', Target: target = '' } = request;
  const refused = (why: string): Error => invalid(`invalid mount config for type "${type}": ${why}`);
  if (!Object.hasOwn(OPTIONS_OF, type)) {
    throw refused(
      type === 'cluster' || type === 'npipe'
        ? 'mounts of this type are not supported by this engine'
        : 'mount type unknown',
    );
  }
  const destination = cleanDestination(type, target);
  const own = OPTIONS_OF[type as keyof typeof OPTIONS_OF];
  const foreign = Object.values(OPTIONS_OF).find((key) => key !== own && request[key] !== undefined);
  if (foreign) throw refused(`field ${foreign} must not be specified`);
  switch (own) {
    case 'BindOptions':
      return bindMount(request, destination, refused);
    case 'VolumeOptions':
      return volumeMount(request, destination, sources, refused);
    case 'TmpfsOptions':
      return tmpfsMount(request, destination, refused);
    case 'ImageOptions':
      return imageMount(request, destination, refused);
  }
}

type Refuse = (why: string) => Error;

function bindMount(request: MountRequest, destination: string, refused: Refuse): MountPoint {
  const { Source: source = '', ReadOnly: readOnly = false, BindOptions: options = {} } = request;
  if (source === '') throw refused('field Source must not be empty');
  if (!source.startsWith('/')) throw refused(`invalid mount path: '${source}' mount path must be absolute`);
  const propagation = options.Propagation || 'rprivate';
  if (!PROPAGATIONS.has(propagation)) throw refused(`invalid propagation mode: ${propagation}`);
  if (!readOnly && (options.ReadOnlyNonRecursive || options.ReadOnlyForceRecursive)) {
    const which = options.ReadOnlyNonRecursive ? 'ReadOnlyNonRecursive' : 'ReadOnlyForceRecursive';
    throw refused(`mount options conflict: !ReadOnly && BindOptions.${which}`);
  }
  if (options.ReadOnlyForceRecursive) {
    if (options.ReadOnlyNonRecursive) {
      throw refused('mount options conflict: ReadOnlyForceRecursive && BindOptions.ReadOnlyNonRecursive');
    }
    if (options.NonRecursive) {
      throw refused('mount options conflict: ReadOnlyForceRecursive && BindOptions.NonRecursive');
    }
    if (propagation !== 'rprivate') {
      throw refused('mount options conflict: BindOptions.ReadOnlyForceRecursive needs propagation rprivate');
    }
  }
  return {
    type: 'bind',
    source: posix.normalize(source),
    destination,
    mode: '',
    readWrite: !readOnly,
    propagation,
    explicit: true,
    ...(options.NonRecursive ? { nonRecursive: true } : {}),
    ...(options.ReadOnlyNonRecursive ? { readOnlyNonRecursive: true } : {}),
  };
}

function volumeMount(
  request: MountRequest,
  destination: string,
  sources: MountSources,
  refused: Refuse,
): MountPoint {
  const { Source: source = '', ReadOnly: readOnly = false, VolumeOptions: options = {} } = request;
  const subpath = options.Subpath ? checkSubpath(options.Subpath, refused) : undefined;
  const more = {
    readWrite: !readOnly,
    ...(options.NoCopy ? { noCopy: true } : {}),
    ...(subpath === undefined ? {} : { subpath }),
  };
  if (source === '') {
    if (subpath !== undefined) throw refused('must not set Subpath when using anonymous volumes');
    return { ...anonymousVolume(destination, sources), ...more };
  }
  checkVolumeName(source);
  const driver = options.DriverConfig?.Name;
  return {
    ...volume(source, destination, sources, { mode: 'z', readWrite: !readOnly }),
    ...more,
    ...(driver ? { driver } : {}),
    explicit: true,
  };
}

function tmpfsMount(request: MountRequest, destination: string, refused: Refuse): MountPoint {
  const { Source: source = '', ReadOnly: readOnly = false, TmpfsOptions: options = {} } = request;
  if (source !== '') throw refused('field Source must not be specified');
  if ((options.SizeBytes ?? 0) < 0) throw refused('field SizeBytes must not be negative');
  const extra = (options.Options ?? []).map((pair) => {
    if (!['exec', 'noexec'].includes(pair[0] ?? '') || pair.length !== 1) {
      throw refused(`invalid option: ${JSON.stringify(pair)}; exec and noexec are allowed`);
    }
    return pair[0]!;
  });
  if (options.Mode) extra.push(`mode=${options.Mode.toString(8)}`);
  if (options.SizeBytes) extra.push(`size=${options.SizeBytes}`);
  if (readOnly) extra.push('ro');
  return {
    type: 'tmpfs',
    source: '',
    destination,
    mode: '',
    readWrite: !readOnly,
    propagation: '',
    tmpfsOptions: extra,
    explicit: true,
  };
}

function imageMount(request: MountRequest, destination: string, refused: Refuse): MountPoint {
  const { Source: source = '', ImageOptions: options = {} } = request;
  if (source === '') throw refused('field Source must not be empty');
  return {
    type: 'image',
    source,
    destination,
    mode: '',
    readWrite: false,
    propagation: '',
    explicit: true,
    ...(options.Subpath ? { subpath: checkSubpath(options.Subpath, refused) } : {}),
  };
}

/** A path that stays inside by its words alone; links are dealt with when it is opened. */
function checkSubpath(subpath: string, refused: Refuse): string {
  const clean = posix.normalize(subpath);
  if (subpath.startsWith('/') || clean === '..' || clean.startsWith('../') || subpath.includes('\0')) {
    throw refused('subpath must be a relative path within the volume');
  }
  return clean.replace(/\/$/, '');
}

function cleanDestination(type: string, target: string): string {
  const refused = (why: string): Error => invalid(`invalid mount config for type "${type}": ${why}`);
  if (target === '') throw refused('field Target must not be empty');
  if (!target.startsWith('/')) throw refused(`invalid mount path: '${target}' mount path must be absolute`);
  const clean = posix.normalize(target).replace(/(?<=.)\/+$/, '');
  if (clean === '/') throw refused("invalid specification: destination can't be '/'");
  return clean;
}

/** The grammar of names of `local` volumes. */
const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** @throws {EngineError} `INVALID` */
export function checkVolumeName(name: string): void {
  if (VOLUME_NAME.test(name)) return;
  if (name.length === 1) {
    throw invalid('volume name is too short, names should be at least two alphanumeric characters');
  }
  throw invalid(
    `create ${name}: "${name}" includes invalid characters for a local volume name, only ` +
      `"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
  );
}

function volume(
  name: string,
  destination: string,
  sources: MountSources,
  access: { mode: string; readWrite: boolean },
): MountPoint {
  const driver = sources.volumeDriver || 'local';
  return { type: 'volume', name, source: '', destination, driver, propagation: '', ...access };
}

function anonymousVolume(destination: string, sources: MountSources): MountPoint {
  return {
    ...volume(sources.newVolumeName(), destination, sources, { mode: '', readWrite: true }),
    anonymous: true,
  };
}

/** Options that contradict one another: the later one wins. */
const OPPOSITES: readonly (readonly [string, string])[] = [
  ['ro', 'rw'],
  ['exec', 'noexec'],
  ['suid', 'nosuid'],
  ['dev', 'nodev'],
  ['sync', 'async'],
  ['atime', 'noatime'],
  ['diratime', 'nodiratime'],
  ['relatime', 'norelatime'],
  ['strictatime', 'nostrictatime'],
];

/** The options of a tmpfs: `nosuid,nodev,noexec` unless `own` says otherwise. */
export function tmpfsOptions(own: readonly string[]): string[] {
  let result = ['nosuid', 'nodev', 'noexec'];
  for (const option of own) {
    if (option === '') continue;
    const pair = OPPOSITES.find((words) => words.includes(option));
    const key = option.split('=', 1)[0]!;
    result = result.filter((item) => (pair ? !pair.includes(item) : item.split('=', 1)[0] !== key));
    result.push(option);
  }
  return result;
}
