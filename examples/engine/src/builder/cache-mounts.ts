/** Directories of `RUN --mount=type=cache`: they stay from build to build, and are shared or not as the mounts say. */
import { createHash, randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';

import { directorySize } from '../volumes/volumes.ts';

/** What a mount asks for. */
export interface CacheMountRequest {
  id: string;
  sharing: 'shared' | 'private' | 'locked';
  /** Of a directory that is new. Default: 0755. */
  mode?: number | undefined;
  uid: number;
  gid: number;
  /** Fills a directory that is new. */
  seed?: ((directory: string) => Promise<void>) | undefined;
}

/** One directory. */
export interface CacheMountUsage {
  name: string;
  sizeBytes: number;
  createdAt: Date;
  usedAt: Date;
  inUse: boolean;
}

/** All directories of cache mounts. */
export class CacheMounts {
  readonly #directory: string;
  /** Commands that have a directory now. */
  readonly #users = new Map<string, number>();
  /** Those that are not to be shared, until they are given back. */
  readonly #locks = new Map<string, Promise<void>>();
  readonly #making = new Map<string, Promise<void>>();

  /** @param directory - holds nothing else; it need not be there before the first use */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A path of the host for a mount. @param held - gets what gives it back */
  async acquire(request: CacheMountRequest, held: AsyncDisposableStack): Promise<string> {
    const { id, sharing } = request;
    const base = createHash('sha256').update(id).digest('hex');
    let name = base;
    if (sharing === 'private') {
      // one of one's own while the first is taken
      for (let copy = 1; this.#locks.has(name); copy += 1) name = `${base}-${copy}`;
    }
    if (sharing !== 'shared') {
      while (this.#locks.has(name)) await this.#locks.get(name);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#locks.set(name, promise);
      held.defer(() => {
        this.#locks.delete(name);
        resolve();
      });
    }
    this.#users.set(name, (this.#users.get(name) ?? 0) + 1);
    held.defer(() => {
      const left = this.#users.get(name)! - 1;
      if (left > 0) this.#users.set(name, left);
      else this.#users.delete(name);
    });
    const path = join(this.#directory, name);
    // commands that meet wait for the one that makes it
    const making = this.#making.get(name) ?? this.#make(path, request);
    this.#making.set(name, making);
    try {
      await making;
    } finally {
      this.#making.delete(name);
    }
    return path;
  }

  /** It is there whole or not at all. */
  async #make(path: string, { mode = 0o755, uid, gid, seed }: CacheMountRequest): Promise<void> {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (found) return utimes(path, new Date(), found.mtime);
    await mkdir(this.#directory, { recursive: true });
    const whole = this.#aside();
    try {
      await mkdir(whole, { recursive: true });
      await seed?.(whole);
      await chmod(whole, mode);
      await chown(whole, uid, gid);
      await rename(whole, path);
    } catch (error) {
      await rm(whole, { recursive: true, force: true });
      throw error;
    }
  }

  /** A name where the next start sweeps. */
  #aside(): string {
    return join(this.#directory, '..', 'contexts', `cache-${randomBytes(8).toString('hex')}`);
  }

  /** Every directory. */
  async list(): Promise<CacheMountUsage[]> {
    const names = await readdir(this.#directory);
    return Promise.all(
      names.map(async (name) => {
        const path = join(this.#directory, name);
        const { birthtime, atime } = await stat(path);
        const sizeBytes = await directorySize(path);
        return { name, sizeBytes, createdAt: birthtime, usedAt: atime, inUse: this.#users.has(name) };
      }),
    );
  }

  /** Removes a directory, unless it is in use. */
  async remove(name: string): Promise<boolean> {
    if (this.#users.has(name)) return false;
    // at once, so that a command that begins meanwhile makes a new one
    const going = this.#aside();
    renameSync(join(this.#directory, name), going);
    await rm(going, { recursive: true, force: true });
    return true;
  }
}
