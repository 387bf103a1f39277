/** What each repository has: blobs, manifests and tags. One JSON file per repository, replaced whole by rename. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  descriptorSchema,
  digestSchema,
  isRepositoryName,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import { z } from 'zod';

/** No component of a repository's name starts so, hence the file cannot be taken for one. */
const FILE = '_repository.json';

const recordSchema = z.object({
  /** Blobs pushed or mounted here. */
  blobs: z.array(descriptorSchema),
  manifests: z.array(descriptorSchema),
  tags: z.record(z.string(), z.string()),
  /** Of manifests that have a subject: its digest, and how its list names them. */
  referrals: z.array(z.object({ subject: digestSchema, referrer: descriptorSchema })).default([]),
});

/** One repository. Maps are by digest; `tags` leads from a tag to a manifest's digest. */
export interface Repository {
  readonly blobs: Map<Digest, Descriptor>;
  readonly manifests: Map<Digest, Descriptor>;
  readonly tags: Map<string, Digest>;
  /** By the manifest's digest, what it refers to, whether that is here or not. */
  readonly referrals: Map<Digest, { subject: Digest; referrer: Descriptor }>;
}

/** All repositories, held in memory and on disk. One process may own a root. */
export class Repositories {
  readonly #root: string;
  readonly #repositories: Map<string, Repository>;
  /** The last write of each repository, which the next one waits for. */
  readonly #writes = new Map<string, Promise<void>>();
  /** Of those, the ones that have not begun: they take along every change that comes until then. */
  readonly #waiting = new Map<string, Promise<void>>();
  /** The last piece of work on each digest, which the next one waits for. */
  readonly #locks = new Map<Digest, Promise<unknown>>();

  private constructor(root: string, repositories: Map<string, Repository>) {
    this.#root = root;
    this.#repositories = repositories;
  }

  /** Reads every repository below `root`, making the directory when it is not there. */
  static async open(root: string): Promise<Repositories> {
    await mkdir(root, { recursive: true });
    const found = new Map<string, Repository>();
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && entry.name.startsWith(`${FILE}.`)) {
        // a write that a crash cut short; what it was to replace is still there
        await rm(join(entry.parentPath, entry.name));
      } else if (entry.isFile() && entry.name === FILE) {
        const name = entry.parentPath.slice(root.length + 1);
        if (isRepositoryName(name)) found.set(name, await readRecord(join(entry.parentPath, FILE)));
      }
    }
    return new Repositories(root, found);
  }

  /** The names of all repositories that hold something, in lexical order. */
  names(): string[] {
    return [...this.#repositories]
      .filter(([, { blobs, manifests }]) => blobs.size + manifests.size > 0)
      .map(([name]) => name)
      .sort();
  }

  /** The repository, or undefined when nothing was ever pushed to it. */
  get(name: string): Repository | undefined {
    return this.#repositories.get(name);
  }

  /** Whether any repository has the content. */
  holds(digest: Digest): boolean {
    for (const { blobs, manifests } of this.#repositories.values()) {
      if (blobs.has(digest) || manifests.has(digest)) return true;
    }
    return false;
  }

  /** Where any repository has the blob; undefined when none has. */
  findBlob(digest: Digest): Descriptor | undefined {
    for (const { blobs } of this.#repositories.values()) {
      const found = blobs.get(digest);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /**
   * Runs `work` when no other work on `digest` runs: linking content and removing what nothing links must not overlap,
   * or a link would lead nowhere.
   */
  async locked<T>(digest: Digest, work: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(digest) ?? Promise.resolve();
    // how the one before ended is told to whom it concerned
    const mine = before.catch(() => {}).then(work);
    this.#locks.set(digest, mine);
    try {
      return await mine;
    } finally {
      if (this.#locks.get(digest) === mine) this.#locks.delete(digest);
    }
  }

  /** Changes a repository, making it when it is new, and resolves when the change is on disk. */
  async update(name: string, change: (repository: Repository) => void): Promise<void> {
    let repository = this.#repositories.get(name);
    if (repository === undefined) {
      repository = { blobs: new Map(), manifests: new Map(), tags: new Map(), referrals: new Map() };
      this.#repositories.set(name, repository);
    }
    change(repository);
    let write = this.#waiting.get(name);
    if (write === undefined) {
      const before = this.#writes.get(name) ?? Promise.resolve();
      // a failed write has been reported to whom it concerned; the next one writes everything again
      write = before
        .catch(() => {})
        .then(() => {
          this.#waiting.delete(name);
          return this.#write(name, repository);
        });
      this.#writes.set(name, write);
      this.#waiting.set(name, write);
    }
    await write;
  }

  async #write(name: string, { blobs, manifests, tags, referrals }: Repository): Promise<void> {
    const path = join(this.#root, name, FILE);
    const record = {
      blobs: [...blobs.values()],
      manifests: [...manifests.values()],
      tags: Object.fromEntries(tags),
      referrals: [...referrals.values()],
    } satisfies z.input<typeof recordSchema>;
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${randomUUID()}`;
    try {
      await using file = await open(temporary, 'wx');
      await file.writeFile(JSON.stringify(record));
      await file.sync();
      await rename(temporary, path);
      await syncDirectory(dirname(path));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** Makes the names in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path);
  await directory.sync();
}

async function readRecord(path: string): Promise<Repository> {
  try {
    const { blobs, manifests, tags, referrals } = recordSchema.parse(
      JSON.parse(await readFile(path, 'utf8')),
    );
    const byDigest = (descriptors: Descriptor[]) => new Map(descriptors.map((each) => [each.digest, each]));
    const known = byDigest(manifests);
    return {
      blobs: byDigest(blobs),
      manifests: known,
      tags: new Map(Object.entries(tags) as [string, Digest][]),
      referrals: new Map(referrals.map((each) => [each.referrer.digest, each])),
    };
  } catch (cause) {
    throw new Error(`${path} is damaged; restore it, or remove it to forget the repository`, { cause });
  }
}
