/** How a layer is unpacked, and what came of it. */
import type { ByteString } from '../tar/entry.ts';
import type { IdMap } from './id-map.ts';

/** How members reach the disk. */
export interface ApplyPolicy {
  /**
   * `'overlay'` (default): whiteouts become the marks of the overlay file system, character devices 0:0 and opaque
   * directories. `'remove'`: they remove what is there, to unpack layers one upon the other into a plain directory.
   * `'none'`: the archive is no layer, and their names are names like any other.
   */
  whiteouts?: 'overlay' | 'remove' | 'none';
  /** Name space of the opaque mark: `'trusted'` (default), or `'user'` for overlays mounted in a user namespace. */
  overlayXattrs?: 'trusted' | 'user';
  /** `'keep'` (default) sets uid and gid; `'caller'` leaves all files to the caller, and drops setuid and setgid. */
  ownership?: 'keep' | 'caller';
  /**
   * Shifts owners, for containers whose users are others on the host. An id that no range holds is refused
   * (`UNSUPPORTED`). Default: ids are the same on both sides.
   */
  idMap?: IdMap | undefined;
  /** Owner of everything, whatever the archive says. Default: as `ownership` says. */
  owner?: { uid: number; gid: number } | undefined;
  /**
   * `'any'` (default): what is in a member's place is removed, with everything in it when it is a directory.
   * `'same-kind'`: a directory is never replaced by something else, nor anything else by a directory; that is
   * `ALREADY_EXISTS`. Directories always take in what the archive has for them.
   */
  replace?: 'any' | 'same-kind';
  /** Where below the root the members go, symbolic links followed inside of the root; it must be there. Default: the root. */
  base?: ByteString;
  /**
   * What to do with devices and attributes that this process or file system cannot make: `'fail'` (default) with
   * `UNSUPPORTED`, or `'skip'` and report them. `user.*` attributes are always skipped.
   */
  unsupported?: 'fail' | 'skip';
  /**
   * Hard links to files that the archive does not have: `'refuse'` (default), or `'report'` them for whoever knows the
   * layers below.
   */
  lowerLinks?: 'refuse' | 'report';
  /** Most members. Default 2,000,000. */
  maxEntries?: number;
  /** Most bytes of file content, holes included. Default 64 GiB. */
  maxBytes?: number;
}

/** A policy with its defaults filled in. */
export type FullPolicy = Required<Omit<ApplyPolicy, 'owner' | 'idMap'>> &
  Pick<ApplyPolicy, 'owner' | 'idMap'>;

/** Fills in the defaults. */
export function fullPolicy(policy: ApplyPolicy): FullPolicy {
  return {
    whiteouts: policy.whiteouts ?? 'overlay',
    overlayXattrs: policy.overlayXattrs ?? 'trusted',
    ownership: policy.ownership ?? 'keep',
    owner: policy.owner,
    idMap: policy.idMap,
    replace: policy.replace ?? 'any',
    base: policy.base ?? '',
    unsupported: policy.unsupported ?? 'fail',
    lowerLinks: policy.lowerLinks ?? 'refuse',
    maxEntries: policy.maxEntries ?? 2_000_000,
    maxBytes: policy.maxBytes ?? 64 * 1024 ** 3,
  };
}

/** Something of the archive that is not on disk, and why. */
export interface SkippedItem {
  /** The member's path. */
  path: ByteString;
  /** The attribute, or undefined when the member itself was left out. */
  attribute: string | undefined;
  reason: 'unsupported' | 'policy';
}

/** A hard link that is not made yet: its target is none of the archive. */
export interface LowerLink {
  path: ByteString;
  target: ByteString;
}

/** What an application did. */
export interface ApplyReport {
  entries: number;
  /** Bytes of file content, holes included. */
  bytes: number;
  /** What was made, hard links not counted, the root and parents that no member lists included. */
  inodes: number;
  /** At most the first 1,000. */
  skipped: SkippedItem[];
  /**
   * Directories that no member lists (`''` is the root), parents before children. They got mode 0755 and owner 0:0;
   * what they should look like, or whether they are symbolic links, only the layers below know.
   */
  impliedDirectories: ByteString[];
  /** Hard links that were left out, in order, with `lowerLinks: 'report'`. */
  lowerLinks: LowerLink[];
}

/** Of an application that has done nothing yet. */
export function emptyReport(): ApplyReport {
  return { entries: 0, bytes: 0, inodes: 0, skipped: [], impliedDirectories: [], lowerLinks: [] };
}
