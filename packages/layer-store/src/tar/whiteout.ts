/** Whiteouts: how a layer says that something of the layers below is gone. */
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString } from './entry.ts';

/** What a file name means in a layer. */
export type Whiteout =
  /** Hides `name` of the layers below. */
  | { kind: 'whiteout'; name: ByteString }
  /** Hides everything of the layers below in the directory that holds this entry. */
  | { kind: 'opaque' }
  /** Bookkeeping of the aufs file system, which is no content. */
  | { kind: 'ignored' };

const PREFIX = '.wh.';
const OPAQUE = '.wh..wh..opq';
const AUFS_METADATA = '.wh..wh.';

/**
 * What the last component of a member's name says; undefined when it is an ordinary name.
 *
 * @throws {LayerStoreError} `UNSAFE_ENTRY` for a whiteout of nothing, of `.` or of `..`
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
 */
export function parseWhiteout(base: ByteString): Whiteout | undefined {
  if (!base.startsWith(PREFIX)) return undefined;
  if (base === OPAQUE) return { kind: 'opaque' };
  if (base.startsWith(AUFS_METADATA)) return { kind: 'ignored' };
  const name = base.slice(PREFIX.length);
  if (name === '' || name === '.' || name === '..') {
    throw new LayerStoreError('UNSAFE_ENTRY', `${printable(base)} is a whiteout of no possible file`, {
      entry: base,
    });
  }
  return { kind: 'whiteout', name };
}

/** The archive name of a whiteout of `name`. */
export function whiteoutName(name: ByteString): ByteString {
  return PREFIX + name;
}

/** The archive name that makes its directory opaque. */
export const OPAQUE_WHITEOUT: ByteString = OPAQUE;
