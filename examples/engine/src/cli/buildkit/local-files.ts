/** A directory of this machine as the daemon asks for it: with patterns of what it wants, and of what it does not. */
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type BigIntStats,
} from 'node:fs';
import { join } from 'node:path';
import { goKind, toGoMode } from '../../buildkit/wire/go-mode.ts';
import type { FileEntry } from '../../buildkit/wire/listing.ts';
import type { FilesToSend } from '../../buildkit/wire/send-files.ts';
import { ignoreRules, type IgnoreRules } from '../../ignore-file.ts';

/** Which files of a directory are sent. */
export interface FilePatterns {
  /** Nothing else. Empty for everything. */
  include: readonly string[];
  exclude: readonly string[];
}

/** Lists `root`. What is left out is not looked into, unless something in it is wanted after all. */
export function localFiles(root: string, patterns: FilePatterns): FilesToSend {
  const walk = new Walk(root, patterns);
  const pieces = new PieceReader();
  walk.directory('');
  return {
    entries: walk.entries,
    read: (path) => pieces.read(join(root, path)),
  };
}

/** Pieces that fit into a message of gRPC. */
const PIECE_BYTES = 1024 * 1024;
/** Small files share memory: a buffer for each would keep the garbage collector busier than all the rest. */
const SLAB_BYTES = 4 * PIECE_BYTES;

/** The content of a file, read at once: nothing else waits, and most files are small. */
class PieceReader {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #used = 0;

  *read(path: string): Generator<Uint8Array, void, undefined> {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      for (;;) {
        if (SLAB_BYTES - this.#used < PIECE_BYTES) {
          this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
          this.#used = 0;
        }
        const got = readSync(fd, this.#slab, this.#used, PIECE_BYTES, null);
        if (got === 0) return;
        const piece = this.#slab.subarray(this.#used, this.#used + got);
        this.#used += got;
        yield piece;
      }
    } finally {
      closeSync(fd);
    }
  }
}

class Walk {
  readonly entries: FileEntry[] = [];
  readonly #root: string;
  readonly #include: IgnoreRules | undefined;
  readonly #includeNames: readonly string[];
  readonly #exclude: IgnoreRules | undefined;
  /** By device and inode: the first name of a file that has several. */
  readonly #links = new Map<string, string>();

  constructor(root: string, { include, exclude }: FilePatterns) {
    this.#root = root;
    this.#includeNames = include;
    this.#include = include.length > 0 ? ignoreRules(include) : undefined;
    this.#exclude = exclude.length > 0 ? ignoreRules(exclude) : undefined;
  }

  directory(path: string): void {
    for (const name of readdirSync(`${this.#root}/${path}`).sort(byBytes)) {
      const child = path === '' ? name : `${path}/${name}`;
      const stat = lstatSync(`${this.#root}/${child}`, { bigint: true });
      const ignored = this.#exclude?.ignores(child) ?? false;
      const hasExceptions = this.#exclude?.hasExceptions ?? false;
      const wanted = this.#isIncluded(child) && !ignored;
      if (!stat.isDirectory()) {
        if (wanted) this.#add(child, stat);
        continue;
      }
      const mayHold = hasExceptions || !ignored;
      if (!mayHold || !(wanted || this.#leadsToIncluded(child) || hasExceptions)) continue;
      const before = this.entries.length;
      this.#add(child, stat);
      this.directory(child);
      // one that is there for the sake of what is in it goes with that
      if (!wanted && this.entries.length === before + 1) this.entries.pop();
    }
  }

  #isIncluded(path: string): boolean {
    return this.#include === undefined || this.#include.ignores(path);
  }

  #leadsToIncluded(path: string): boolean {
    return this.#includeNames.some((name) => name.startsWith(`${path}/`) || name.includes('*'));
  }

  #add(path: string, stat: BigIntStats): void {
    const mode = toGoMode(Number(stat.mode));
    const kind = goKind(mode);
    // sockets are never part of a build: they are the meeting points of programs that run
    if (stat.isSocket()) return;
    let linkname = kind === 'symlink' ? readlinkSync(join(this.#root, path)) : '';
    if (kind === 'file' && stat.nlink > 1n) {
      const inode = `${stat.dev} ${stat.ino}`;
      linkname = this.#links.get(inode) ?? '';
      if (linkname === '') this.#links.set(inode, path);
    }
    const size = kind === 'file' ? stat.size : 0n;
    this.entries.push({ path, mode, size, modTime: stat.mtimeNs, linkname });
  }
}

/** As Go sorts: by bytes, not by UTF-16. */
function byBytes(a: string, b: string): number {
  if (!/[^\0-\x7f]/.test(a + b)) return a < b ? -1 : 1;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
