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
  return [...byDestination.values()].sort((a, b) => depth(a.destination) - depth(b.destination));
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
  return volume(first, destination, sources, { mode: mode === '' ? 'z' : mode, readWrite });
}

function isMode(mode: string): boolean {
  if (mode === '') return true;
  const words = mode.split(',');
  return (
    words.every((word) => MODE_GROUPS.some((group) => group.has(word))) &&
    MODE_GROUPS.every((group) => words.filter((word) => group.has(word)).length <= 1)
  );
}

function parseMount(request: MountRequest, sources: MountSources): MountPoint {
  const { Type: type = '', Source: source = '', Target: target = '', ReadOnly: readOnly = false } = request;
  const refused = (why: string): Error => invalid(`invalid mount config for type "${type}": ${why}`);
  const destination = cleanDestination(type, target);
  switch (type) {
    case 'bind': {
      if (source === '') throw refused('field Source must not be empty');
      if (!source.startsWith('/'))
        throw refused(`invalid mount path: '${source}' mount path must be absolute`);
      if (request.VolumeOptions) throw refused('field VolumeOptions must not be specified');
      const options = request.BindOptions ?? {};
      const propagation = options.Propagation || 'rprivate';
      if (!PROPAGATIONS.has(propagation)) throw refused(`invalid propagation mode: ${propagation}`);
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
    case 'volume': {
      if (request.VolumeOptions?.Subpath) throw refused('field Subpath is not supported by this engine yet');
      if (source === '') return { ...anonymousVolume(destination, sources), readWrite: !readOnly };
      checkVolumeName(source);
      const driver = request.VolumeOptions?.DriverConfig?.Name;
      return {
        ...volume(source, destination, sources, { mode: 'z', readWrite: !readOnly }),
        ...(driver ? { driver } : {}),
        explicit: true,
      };
    }
    case 'tmpfs': {
      if (source !== '') throw refused('field Source must not be specified');
      const options = request.TmpfsOptions ?? {};
      const extra = (options.Options ?? []).map((pair) => pair.join('='));
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
    case 'image':
    case 'cluster':
      throw refused(`mounts of this type are not supported by this engine`);
    default:
      throw refused('mount type unknown');
  }
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
