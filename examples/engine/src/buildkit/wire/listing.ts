/** What a listing of files says, in a few bytes: two directories with one digest are held to be the same. */
import { createHash } from 'node:crypto';

import type { Stat } from '../gen/session_pb.ts';

/** A file in a listing. No message yet: of what has not changed nothing is sent. */
export type FileEntry = Pick<Stat, 'path' | 'mode' | 'size' | 'modTime' | 'linkname'>;

/** The digest of a listing that is whole. */
export function listingDigest(entries: Iterable<FileEntry>): string {
  const listing = new Listing();
  for (const entry of entries) listing.add(entry);
  return listing.digest();
}

/** A listing that is taken entry by entry. */
export class Listing {
  readonly #lines: string[] = [];

  /** Entries count in their order. */
  add({ path, mode, size, modTime, linkname }: FileEntry): void {
    this.#lines.push(`${path}\0${mode} ${size} ${modTime}\0${linkname}\0`);
  }

  digest(): string {
    return createHash('sha256').update(this.#lines.join('')).digest('hex');
  }
}
