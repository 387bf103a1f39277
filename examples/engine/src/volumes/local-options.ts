/** The options of a `local` volume (`type`, `device`, `o`): what is mounted over its directory while it is in use. Pure. */
import { EngineError, invalid } from '../errors.ts';

/** One file system to mount: the shape of the runtime's `Mount`. */
export interface VolumeMount {
  type: string;
  source: string;
  options: string[];
}

/** Which options another one cannot do without. */
const NEEDED: Readonly<Record<string, readonly string[]>> = {
  type: ['device'],
  device: ['type'],
  o: ['type', 'device'],
};
/** Network file systems, whose `addr=` the kernel takes as a number only. */
const NETWORK_TYPES = /^(nfs4?|cifs)$/;
const NAMED_ADDRESS = /(^|,)addr=([^,]*[^0-9a-fA-F.:,][^,]*)/;

/**
 * Checks the options of a volume.
 *
 * @param filesystems - text of `/proc/filesystems`; a network file system that is not in it is refused now, not when a
 *   container starts
 * @throws {EngineError} `INVALID` in dockerd's words; `NOT_IMPLEMENTED` for a file system that this kernel lacks
 */
export function checkLocalOptions(options: Readonly<Record<string, string>>, filesystems: string): void {
  for (const option of Object.keys(options)) {
    if (option !== 'size' && !Object.hasOwn(NEEDED, option)) throw invalid(`invalid option: "${option}"`);
  }
  if (options['size'] !== undefined) throw invalid('quota size requested but no quota support');
  for (const option of Object.keys(options)) {
    const missing = NEEDED[option]?.find((needed) => options[needed] === undefined);
    if (missing !== undefined) throw invalid(`missing required option: "${missing}"`);
  }
  const { type = '' } = options;
  if (NETWORK_TYPES.test(type) && !new RegExp(`^(nodev)?\\t${type}$`, 'm').test(filesystems)) {
    throw new EngineError(
      'NOT_IMPLEMENTED',
      `volumes of type ${type} need the kernel's ${type} file system, which is not loaded here: modprobe ${type}`,
    );
  }
}

/** What to mount, in mount(8)'s terms; undefined for a volume that is its directory. */
export function localMount(options: Readonly<Record<string, string>> | null): VolumeMount | undefined {
  const { type, device, o = '' } = options ?? {};
  if (type === undefined || device === undefined) return undefined;
  return { type, source: device, options: o.split(',').filter((option) => option !== '') };
}

/** The host name that a mount's `addr=` has in place of an address; undefined when there is none. */
export function namedAddress(mount: VolumeMount): string | undefined {
  return NETWORK_TYPES.test(mount.type) ? NAMED_ADDRESS.exec(mount.options.join(','))?.[2] : undefined;
}

/** The same mount with its `addr=` replaced. */
export function withAddress(mount: VolumeMount, address: string): VolumeMount {
  return {
    ...mount,
    options: mount.options.map((option) => (option.startsWith('addr=') ? `addr=${address}` : option)),
  };
}
