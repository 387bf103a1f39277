/** File modes as Go's `os.FileMode` has them: what BuildKit's clients send and expect. */
import { constants } from 'node:fs';

const DIRECTORY = 0x8000_0000;
const SYMLINK = 0x0800_0000;
const DEVICE = 0x0400_0000;
const PIPE = 0x0200_0000;
const SOCKET = 0x0100_0000;
const SETUID = 0x0080_0000;
const SETGID = 0x0040_0000;
const CHARACTER = 0x0020_0000;
const STICKY = 0x0010_0000;

export type GoKind = 'file' | 'directory' | 'symlink' | 'other';

/** What a mode of Go's is. */
export function goKind(mode: number): GoKind {
  if ((mode & DIRECTORY) !== 0) return 'directory';
  if ((mode & SYMLINK) !== 0) return 'symlink';
  return (mode & (DEVICE | PIPE | SOCKET | CHARACTER)) === 0 ? 'file' : 'other';
}

/** Permission bits of a mode of Go's, as chmod takes them. */
export function goPermissions(mode: number): number {
  return (
    (mode & 0o777) |
    ((mode & SETUID) === 0 ? 0 : 0o4000) |
    ((mode & SETGID) === 0 ? 0 : 0o2000) |
    ((mode & STICKY) === 0 ? 0 : 0o1000)
  );
}

const KINDS: ReadonlyMap<number, number> = new Map([
  [constants.S_IFDIR, DIRECTORY],
  [constants.S_IFLNK, SYMLINK],
  [constants.S_IFBLK, DEVICE],
  [constants.S_IFCHR, DEVICE | CHARACTER],
  [constants.S_IFIFO, PIPE],
  [constants.S_IFSOCK, SOCKET],
]);

/** A st_mode as Go's. */
export function toGoMode(mode: number): number {
  const special =
    ((mode & 0o4000) === 0 ? 0 : SETUID) |
    ((mode & 0o2000) === 0 ? 0 : SETGID) |
    ((mode & 0o1000) === 0 ? 0 : STICKY);
  return ((KINDS.get(mode & constants.S_IFMT) ?? 0) | special | (mode & 0o777)) >>> 0;
}
