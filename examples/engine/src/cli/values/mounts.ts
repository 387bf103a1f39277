/** `-v`, `--mount` and `--tmpfs`: what appears where in a container's file system. */
import { resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { splitCsv } from './csv.ts';
import { splitPair } from './key-value.ts';
import { parseSize } from './size.ts';

/** `Mount` of the Engine API's HostConfig. */
export interface MountRequest {
  Type: string;
  Source?: string;
  Target?: string;
  ReadOnly?: boolean;
  Consistency?: string;
  BindOptions?: {
    Propagation?: string;
    NonRecursive?: boolean;
    CreateMountpoint?: boolean;
    ReadOnlyNonRecursive?: boolean;
    ReadOnlyForceRecursive?: boolean;
  };
  VolumeOptions?: {
    NoCopy?: boolean;
    Labels?: Record<string, string>;
    Subpath?: string;
    DriverConfig?: { Name?: string; Options?: Record<string, string> };
  };
  ImageOptions?: { Subpath?: string };
  TmpfsOptions?: { SizeBytes?: number; Mode?: number };
}

/** What one `-v` means: a bind (or named volume) string for `HostConfig.Binds`, or an anonymous volume's path. */
export type VolumeArgument = { bind: string } | { volume: string };

/**
 * One `-v` value: `[source:]target[:options]`. A source that starts with `.` is a path of the client, made absolute
 * here, since the daemon has another working directory. Everything else is the daemon's to judge.
 *
 * @throws {UsageError} for an empty part
 */
export function parseVolume(text: string, workingDirectory: string): VolumeArgument {
  if (text.includes(':') && text.split(':').includes('')) {
    throw new UsageError(`invalid spec: ${text}: empty section between colons`);
  }
  const at = text.indexOf(':');
  if (at === -1) return { volume: text };
  const source = text.slice(0, at);
  const path = /^\.{1,2}(?:\/|$)/.test(source) ? resolve(workingDirectory, source) : source;
  return { bind: path + text.slice(at) };
}

/** `--tmpfs /path[:options]` as an entry of `HostConfig.Tmpfs`. */
export function parseTmpfs(text: string): [path: string, options: string] {
  const at = text.indexOf(':');
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

const flags = new Set(['readonly', 'ro', 'volume-nocopy', 'bind-nonrecursive']);

/** What the CSV fields fill in while they are read. */
interface Draft extends MountRequest {
  bind: NonNullable<MountRequest['BindOptions']>;
  volume: NonNullable<MountRequest['VolumeOptions']>;
  image: NonNullable<MountRequest['ImageOptions']>;
  tmpfs: NonNullable<MountRequest['TmpfsOptions']>;
}

/**
 * One `--mount` value: CSV of `key=value`, for example `type=bind,src=/a,dst=/b,readonly`. The default type is
 * `volume`.
 *
 * @throws {UsageError} worded as Docker's
 */
export function parseMount(text: string, workingDirectory: string): MountRequest {
  if (text === '') throw new UsageError('value is empty');
  const draft: Draft = { Type: 'volume', bind: {}, volume: {}, image: {}, tmpfs: {} };
  for (const field of splitCsv(text)) setField(draft, field, workingDirectory);
  const mount = finish(draft);
  if (mount.Target === undefined || mount.Target === '') throw new UsageError('target is required');
  return mount;
}

function setField(mount: Draft, field: string, workingDirectory: string): void {
  const key = splitPair(field)[0].toLowerCase();
  if (!field.includes('=') && !flags.has(key)) {
    throw new UsageError(`invalid field '${field}' must be a key=value pair`);
  }
  const value = field.includes('=') ? splitPair(field)[1] : 'true';
  switch (key) {
    case 'type':
      mount.Type = value.toLowerCase();
      return;
    case 'source':
    case 'src':
      mount.Source = /^\.{1,2}(?:\/|$)/.test(value) ? resolve(workingDirectory, value) : value;
      return;
    case 'target':
    case 'dst':
    case 'destination':
      mount.Target = value;
      return;
    case 'readonly':
    case 'ro':
      mount.ReadOnly = boolean(key, value);
      return;
    case 'consistency':
      mount.Consistency = value.toLowerCase();
      return;
    case 'bind-propagation':
      mount.bind.Propagation = value.toLowerCase();
      return;
    case 'bind-nonrecursive':
      mount.bind.NonRecursive = boolean(key, value);
      return;
    case 'bind-create-src':
      mount.bind.CreateMountpoint = boolean(key, value);
      return;
    case 'bind-recursive':
      setRecursion(mount, value);
      return;
    case 'volume-subpath':
      mount.volume.Subpath = value;
      return;
    case 'volume-nocopy':
      mount.volume.NoCopy = boolean(key, value);
      return;
    case 'volume-label':
      mount.volume.Labels = { ...mount.volume.Labels, ...Object.fromEntries([splitPair(value)]) };
      return;
    case 'volume-driver':
      mount.volume.DriverConfig = { ...mount.volume.DriverConfig, Name: value };
      return;
    case 'volume-opt': {
      const options = { ...mount.volume.DriverConfig?.Options, ...Object.fromEntries([splitPair(value)]) };
      mount.volume.DriverConfig = { ...mount.volume.DriverConfig, Options: options };
      return;
    }
    case 'image-subpath':
      mount.image.Subpath = value;
      return;
    case 'tmpfs-size':
      mount.tmpfs.SizeBytes = size(key, value);
      return;
    case 'tmpfs-mode':
      if (!/^[0-7]+$/.test(value)) throw new UsageError(`invalid value for ${key}: ${value}`);
      mount.tmpfs.Mode = Number.parseInt(value, 8);
      return;
    default:
      throw new UsageError(`unexpected key '${splitPair(field)[0]}' in '${field}'`);
  }
}

function setRecursion(mount: Draft, value: string): void {
  switch (value) {
    case 'enabled':
      return;
    case 'disabled':
      mount.bind.NonRecursive = true;
      return;
    case 'writable':
      mount.bind.ReadOnlyNonRecursive = true;
      return;
    case 'readonly':
      mount.bind.ReadOnlyForceRecursive = true;
      return;
    default:
      throw new UsageError(
        `invalid value for bind-recursive: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
      );
  }
}

/** Drops the empty option groups and refuses options of another type. */
function finish({ bind, volume, image, tmpfs, ...mount }: Draft): MountRequest {
  const groups = { bind, volume, image, tmpfs };
  for (const [type, options] of Object.entries(groups)) {
    if (Object.keys(options).length > 0 && mount.Type !== type) {
      throw new UsageError(`cannot mix '${type}-*' options with mount type '${mount.Type}'`);
    }
  }
  if (bind.ReadOnlyNonRecursive && !mount.ReadOnly) {
    throw new UsageError(
      `option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction`,
    );
  }
  if (bind.ReadOnlyForceRecursive) {
    if (!mount.ReadOnly) {
      throw new UsageError(
        `option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction`,
      );
    }
    if (bind.Propagation !== 'rprivate') {
      throw new UsageError(
        `option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction`,
      );
    }
  }
  const request: MountRequest = { ...mount };
  if (Object.keys(bind).length > 0) request.BindOptions = bind;
  if (Object.keys(volume).length > 0) request.VolumeOptions = volume;
  if (Object.keys(image).length > 0) request.ImageOptions = image;
  if (Object.keys(tmpfs).length > 0) request.TmpfsOptions = tmpfs;
  return request;
}

function boolean(key: string, value: string): boolean {
  const parsed = parseBoolean(value);
  if (parsed === undefined) throw new UsageError(`invalid value for ${key}: ${value}`);
  return parsed;
}

/** Go's strconv.ParseBool; undefined for anything it refuses. */
export function parseBoolean(text: string): boolean | undefined {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  return undefined;
}

function size(key: string, value: string): number {
  try {
    return parseSize(value);
  } catch (cause) {
    throw new UsageError(`invalid value for ${key}: ${value}`, { cause });
  }
}
