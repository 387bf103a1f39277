/** A directory of this machine as the daemon asks for it: with patterns of what it wants, and of what it does not. */
import { create } from '@bufbuild/protobuf';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { StatSchema, type Stat } from '../../buildkit/gen/session_pb.ts';
import { goKind, toGoMode } from '../../buildkit/wire/go-mode.ts';
import type { FilesToSend } from '../../buildkit/wire/send-files.ts';
import { ignoreRules, type IgnoreRules } from '../../ignore-file.ts';

/** Which files of a directory are sent. */
export interface FilePatterns {
  /** Nothing else. Empty for everything. */
  include: readonly string[];
  exclude: readonly string[];
}

/** Lists `root`. What is left out is not looked into, unless something in it is wanted after all. */
export async function localFiles(root: string, patterns: FilePatterns): Promise<FilesToSend> {
  const walk = new Walk(root, patterns);
  await walk.directory('');
  return {
    entries: walk.entries,
    read: (path) => createReadStream(join(root, path), { highWaterMark: 256 * 1024 }),
  };
}

class Walk {
  readonly entries: Stat[] = [];
  readonly #root: string;
  readonly #include: IgnoreRules | undefined;
  readonly #includeNames: readonly string[];
  readonly #exclude: IgnoreRules;
  /** By device and inode: the first name of a file that has several. */
  readonly #links = new Map<string, string>();

  constructor(root: string, { include, exclude }: FilePatterns) {
    this.#root = root;
    this.#includeNames = include;
    this.#include = include.length > 0 ? ignoreRules(include) : undefined;
    this.#exclude = ignoreRules(exclude);
  }

  async directory(path: string): Promise<void> {
    for (const name of (await readdir(join(this.#root, path))).sort(byBytes)) {
      const child = path === '' ? name : `${path}/${name}`;
      const stat = await lstat(join(this.#root, child), { bigint: true });
      const wanted = this.#isIncluded(child) && !this.#exclude.ignores(child);
      if (!stat.isDirectory()) {
        if (wanted) await this.#add(child, stat);
        continue;
      }
      const mayHold = this.#exclude.hasExceptions || !this.#exclude.ignores(child);
      if (!mayHold || !(wanted || this.#leadsToIncluded(child) || this.#exclude.hasExceptions)) continue;
      const before = this.entries.length;
      await this.#add(child, stat);
      await this.directory(child);
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

  async #add(path: string, stat: Awaited<ReturnType<typeof lstat>>): Promise<void> {
    const mode = toGoMode(Number(stat.mode));
    const kind = goKind(mode);
    // sockets are never part of a build: they are the meeting points of programs that run
    if (stat.isSocket()) return;
    let linkname = kind === 'symlink' ? await readlink(join(this.#root, path)) : '';
    if (kind === 'file' && Number(stat.nlink) > 1) {
      const inode = `${stat.dev} ${stat.ino}`;
      linkname = this.#links.get(inode) ?? '';
      if (linkname === '') this.#links.set(inode, path);
    }
    this.entries.push(
      create(StatSchema, {
        path,
        mode,
        size: kind === 'file' ? BigInt(stat.size) : 0n,
        modTime: 'mtimeNs' in stat ? (stat.mtimeNs as bigint) : 0n,
        linkname,
      }),
    );
  }
}

/** As Go sorts: by bytes, not by UTF-16. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
