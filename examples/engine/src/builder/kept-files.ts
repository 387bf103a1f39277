/**
 * Files of clients that stay here between their builds, so that only what has changed is sent again. Nothing of it
 * outlives the daemon.
 */
import { createHash } from 'node:crypto';

import type { Spool } from './spool.ts';
import type { SpooledTree, TreeNode } from './spooled-tree.ts';

/** Files of one directory, and what holds their content. */
interface Kept {
  tree: SpooledTree;
  spool: Spool;
  held: Disposable;
  files: number;
  sizeBytes: number;
  createdAt: Date;
  usedAt: Date;
  uses: number;
}

/** What is known of the files of one directory. */
export interface KeptRecord {
  id: string;
  sizeBytes: number;
  createdAt: Date;
  usedAt: Date;
  uses: number;
  /** By a build that runs. */
  inUse: boolean;
}

/** Most that is kept. */
const MAX_FILES = 100_000;
const MAX_BYTES = 4 * 1024 ** 3;
/** As much of a spool as may belong to files that are gone. */
const MAX_WASTE_BYTES = 64 * 1024 * 1024;

/** The part of the disk's free space that may be taken. */
const MAX_OF_FREE = 0.25;

/** Kept for as long as the engine runs, within bounds. */
export class KeptFiles {
  readonly #freeBytes: () => number;
  /** By the client's name for the directory; least recently used first. */
  readonly #kept = new Map<string, Kept>();

  /** @param freeBytes - of the disk that the files are on */
  constructor(freeBytes: () => number) {
    this.#freeBytes = freeBytes;
  }

  /** What was kept. It stays usable for as long as its spool is held. */
  get(key: string): { tree: SpooledTree; spool: Spool } | undefined {
    return this.#kept.get(key);
  }

  /** Keeps a tree whose files are all in `spool`, in the place of what was kept before. */
  keep(key: string, tree: SpooledTree, spool: Spool): void {
    const before = this.#kept.get(key);
    // it may be the same one
    const held = spool.hold();
    this.#drop(key);
    const { files, sizeBytes } = sizeOf(tree.root);
    if (spool.sizeBytes - sizeBytes > sizeBytes + MAX_WASTE_BYTES) return held[Symbol.dispose]();
    const usedAt = new Date();
    this.#kept.set(key, {
      tree,
      spool,
      held,
      files,
      sizeBytes: spool.sizeBytes,
      createdAt: before?.createdAt ?? usedAt,
      usedAt,
      uses: (before?.uses ?? 0) + 1,
    });
    const mostBytes = Math.min(MAX_BYTES, this.#freeBytes() * MAX_OF_FREE);
    for (const oldest of this.#kept.keys()) {
      const all = [...this.#kept.values()];
      const tooMany = all.reduce((sum, kept) => sum + kept.files, 0) > MAX_FILES;
      if (!tooMany && all.reduce((sum, kept) => sum + kept.sizeBytes, 0) <= mostBytes) return;
      this.#drop(oldest);
    }
  }

  /** Everything, least recently used first. */
  list(): KeptRecord[] {
    return [...this.#kept].map(([key, { spool, sizeBytes, createdAt, usedAt, uses }]) => ({
      id: idOf(key),
      sizeBytes,
      createdAt,
      usedAt,
      uses,
      // one holder is this
      inUse: spool.holders > 1,
    }));
  }

  /** Lets go of the files with an id of {@link list}. @returns whether there were any */
  remove(id: string): boolean {
    for (const key of this.#kept.keys()) {
      if (idOf(key) !== id) continue;
      this.#drop(key);
      return true;
    }
    return false;
  }

  #drop(key: string): void {
    this.#kept.get(key)?.held[Symbol.dispose]();
    this.#kept.delete(key);
  }
}

/** Of the form that clients know of other parts of the cache. */
function idOf(key: string): string {
  return `sha256:${createHash('sha256').update(key).digest('hex')}`;
}

function sizeOf({ entry, children }: TreeNode): { files: number; sizeBytes: number } {
  let files = 1;
  let sizeBytes = entry.size;
  for (const child of children?.values() ?? []) {
    const below = sizeOf(child);
    files += below.files;
    sizeBytes += below.sizeBytes;
  }
  return { files, sizeBytes };
}
