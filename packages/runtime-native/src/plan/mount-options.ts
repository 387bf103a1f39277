/** Mount options as mount(8) and the OCI runtime spec write them, turned into what the mount API takes. */
import type { IdMapping } from '../spec/linux.ts';

/** What a list of options asks for. Attribute bits are those of mount_setattr(2). */
export interface MountOptions {
  /** A mount of something that is mounted already; `recursive` with the mounts below it. */
  bind: { recursive: boolean } | undefined;
  set: bigint;
  clear: bigint;
  /** The same for every mount below as well: `rro`, `rnosuid`, … */
  setAll: bigint;
  clearAll: bigint;
  /** MS_PRIVATE and its like; 0 when none was named. */
  propagation: number;
  /** Options of the file system itself, `key=value` or a flag. */
  data: string[];
  /** A tmpfs that begins with what it covers. */
  copyUp: boolean;
  /** A change of the attributes of what is mounted there already. */
  remount: boolean;
  /** Ids mapped as the mount's `uidMappings` and `gidMappings` say; `recursive` with the mounts below it. */
  idmap: { recursive: boolean; maps: OptionMaps | undefined } | undefined;
  /** Options that ask for what this version cannot do. */
  unsupported: string[];
}

const RDONLY = 0x1n;
const NOSUID = 0x2n;
const NODEV = 0x4n;
const NOEXEC = 0x8n;
const ATIME_MASK = 0x70n;
const NOATIME = 0x10n;
const STRICTATIME = 0x20n;
const NODIRATIME = 0x80n;
const NOSYMFOLLOW = 0x200000n;

/** Bits to set and to clear. The access-time modes are one field of three bits. */
const ATTRIBUTES: Readonly<Record<string, readonly [set: bigint, clear: bigint]>> = {
  ro: [RDONLY, 0n],
  rw: [0n, RDONLY],
  nosuid: [NOSUID, 0n],
  suid: [0n, NOSUID],
  nodev: [NODEV, 0n],
  dev: [0n, NODEV],
  noexec: [NOEXEC, 0n],
  exec: [0n, NOEXEC],
  noatime: [NOATIME, ATIME_MASK],
  atime: [0n, ATIME_MASK],
  relatime: [0n, ATIME_MASK],
  norelatime: [STRICTATIME, ATIME_MASK],
  strictatime: [STRICTATIME, ATIME_MASK],
  nostrictatime: [0n, ATIME_MASK],
  nodiratime: [NODIRATIME, 0n],
  diratime: [0n, NODIRATIME],
  nosymfollow: [NOSYMFOLLOW, 0n],
  symfollow: [0n, NOSYMFOLLOW],
};

export const MS_UNBINDABLE = 1 << 17;
export const MS_PRIVATE = 1 << 18;
export const MS_SLAVE = 1 << 19;
export const MS_SHARED = 1 << 20;
export const MS_REC = 1 << 14;

/** Propagation by name. A mount in a container has nothing below it yet, so both forms mean the same to it. */
const PROPAGATION: Readonly<Record<string, number>> = {
  unbindable: MS_UNBINDABLE,
  runbindable: MS_UNBINDABLE,
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE,
  slave: MS_SLAVE,
  rslave: MS_SLAVE,
  shared: MS_SHARED,
  rshared: MS_SHARED,
};

/** Accepted and without effect: defaults, and hints to mount(8). */
const IGNORED = new Set([
  'defaults',
  'silent',
  'loud',
  'nomand',
  'async',
  'nolazytime',
  'noiversion',
  '_netdev',
]);

const UNSUPPORTED = new Set(['move', 'copy-symlink', 'src-nofollow', 'dest-nofollow']);

/** Every option that is understood; others go to the file system. */
export const MOUNT_OPTIONS: readonly string[] = [
  ...Object.keys(ATTRIBUTES).flatMap((name) => [name, `r${name}`]),
  ...Object.keys(PROPAGATION),
  ...IGNORED,
  'bind',
  'rbind',
  'idmap',
  'ridmap',
  'remount',
  'tmpcopyup',
].toSorted();

/** Mappings in an option, as crun has them: `idmap=uids=0-1000-10#10-5000-1;gids=…`. */
export interface OptionMaps {
  uidMappings: IdMapping[];
  gidMappings: IdMapping[];
}

/** @returns undefined when it is not of that form */
function parseMaps(text: string): OptionMaps | undefined {
  const maps: OptionMaps = { uidMappings: [], gidMappings: [] };
  for (const part of text.split(';').filter(Boolean)) {
    const match = /^(uids|gids)=(\d+-\d+-[1-9]\d*(?:#\d+-\d+-[1-9]\d*)*)$/.exec(part);
    if (!match) return undefined;
    const mappings = match[2]!.split('#').map((triple) => {
      const [containerID = 0, hostID = 0, size = 0] = triple.split('-').map(Number);
      return { containerID, hostID, size };
    });
    maps[match[1] === 'uids' ? 'uidMappings' : 'gidMappings'].push(...mappings);
  }
  return maps.uidMappings.length > 0 && maps.gidMappings.length > 0 ? maps : undefined;
}

/** Parses a list of options; later ones win over earlier ones. */
export function parseMountOptions(options: readonly string[], type?: string): MountOptions {
  const result: MountOptions = {
    bind: type === 'bind' ? { recursive: false } : undefined,
    set: 0n,
    clear: 0n,
    setAll: 0n,
    clearAll: 0n,
    propagation: 0,
    data: [],
    copyUp: false,
    remount: false,
    idmap: undefined,
    unsupported: [],
  };
  for (const option of options) {
    const change = ATTRIBUTES[option];
    const recursive = option.startsWith('r') ? ATTRIBUTES[option.slice(1)] : undefined;
    if (option === 'bind' || option === 'rbind') result.bind = { recursive: option === 'rbind' };
    else if (change) {
      result.set = (result.set & ~change[1]) | change[0];
      result.clear = (result.clear & ~change[0]) | change[1];
    } else if (option === 'remount') result.remount = true;
    else if (/^r?idmap(?:=|$)/.test(option)) {
      const [name, ...value] = option.split('=');
      const maps = value.length > 0 ? parseMaps(value.join('=')) : undefined;
      // relative to the user namespace ("@"), or nonsense
      if (value.length > 0 && !maps) result.unsupported.push(option);
      result.idmap = { recursive: name === 'ridmap', maps };
    } else if (option === 'tmpcopyup') result.copyUp = true;
    else if (option in PROPAGATION) result.propagation = PROPAGATION[option]!;
    else if (recursive) {
      result.setAll = (result.setAll & ~recursive[1]) | recursive[0];
      result.clearAll = (result.clearAll & ~recursive[0]) | recursive[1];
    } else if (UNSUPPORTED.has(option.split('=', 1)[0]!)) result.unsupported.push(option);
    else if (!IGNORED.has(option) && option !== '') result.data.push(option);
  }
  return result;
}
