/** What of a tree goes into an archive, and how. */
import type { ByteString } from '../tar/entry.ts';
import type { TarSink } from '../tar/read.ts';
import type { DescribeOptions } from './describe-inode.ts';
import type { TarPiecesOptions } from './pieces.ts';

/** Options of {@link "pack".packTree}. */
export interface PackOptions extends DescribeOptions, TarPiecesOptions {
  /**
   * What to read of the open directory: one name in it, with everything below. Default: the directory itself, whose
   * content is then listed by bare names.
   */
  name?: ByteString;
  /**
   * What the archive calls it. Default: as it is called; the directory itself is not listed, unless it is called `.`. With
   * `./` it is listed, and every name in it begins with that.
   */
  as?: ByteString;
  /**
   * `'none'` (default): the tree is taken as it is. `'trusted'` or `'user'`: it is a layer of the overlay file system
   * with marks in that name space, which become whiteouts of the archive.
   */
  overlayXattrs?: 'none' | 'trusted' | 'user';
  /**
   * Open directories that show through the first, topmost first: then it is the stack of layers that is read, as if it
   * were mounted, and what their marks hide is left out. With `overlayXattrs`, and without `name`. They stay the caller's.
   */
  below?: readonly number[];
  /** Leaves out what lies on other mounts: a mount point comes as an empty directory, or file. Default false. */
  oneFileSystem?: boolean;
  /** Paths in the archive that are left out, with everything below them. */
  without?: ReadonlySet<ByteString>;
  /** Of the directory itself, only the content is listed, each name after `as` and a slash. Default false. */
  contentOnly?: boolean;
  /** Left out when true, with everything below; gets the path in the archive. */
  exclude?: (path: ByteString, isDirectory: boolean) => boolean;
  /**
   * In place of an archive, a text that says the same of everything but times, and of content its digest: what a key of
   * the tree is made of. Default false.
   */
  summary?: boolean;
  /** Gets every member as well, as a reader of the archive would give it. Not with `summary`. */
  members?: TarSink;
  /** False leaves out the end mark: another archive follows. Default true. */
  endMark?: boolean;
  signal?: AbortSignal;
}
