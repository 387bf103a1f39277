/** The directories of new snapshots. */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { toHost, type IdMap } from '../apply/id-map.ts';
import { systemCode } from '../errors.ts';

/** Length of an id: 36^6 are enough that a collision, which is only tried again, is rare. */
const ID_LENGTH = 6;

/** Makes an empty directory in `parent`, and returns its name, which is short. */
export function makeUnique(parent: string): string {
  for (;;) {
    const id = Array.from(randomBytes(ID_LENGTH), (byte) => (byte % 36).toString(36)).join('');
    try {
      mkdirSync(join(parent, id), 0o700);
      return id;
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
  }
}

/** Makes the root of a layer. That of a mount is that of its topmost directory: it looks as the one `below` it. */
export function makeRoot(layer: string, below: string | undefined, idMap: IdMap | undefined): void {
  mkdirSync(layer, 0o755);
  const stat = below === undefined ? undefined : statSync(below);
  const root = { uid: 0, gid: 0 };
  const { uid, gid } = stat ?? (idMap === undefined ? root : toHost(idMap, root));
  if (process.geteuid?.() === 0) chownSync(layer, uid, gid);
  // not left to mkdir, which minds the umask
  chmodSync(layer, (stat?.mode ?? 0o755) & 0o7777);
  if (stat !== undefined) utimesSync(layer, stat.atime, stat.mtime);
}
