/**
 * Leases: what garbage collection must not take although no root leads to it yet. Each is a small file, so that other
 * processes see it, and so that one with an expiry outlives its process: a pull that a crash broke off can go on.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LayerStoreError } from '../errors.ts';
import { isOwnerAlive, thisOwner } from '../owner.ts';
import { isMissing } from './ingest.ts';

const leaseSchema = z.object({
  version: z.literal(1),
  owner: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().optional(),
  names: z.array(z.string()),
});

/** What is known of one lease. */
export interface LeaseInfo {
  id: string;
  createdAt: Date;
  /** Undefined: it ends with its process. */
  expiresAt: Date | undefined;
  /** Digests of blobs, names of snapshots. */
  names: readonly string[];
}

/** Options of {@link Leases.create}. */
export interface LeaseOptions {
  /** Letters, digits, `_` and `-`. Default: random. A lease of this id is replaced. */
  id?: string;
  /** From now, in milliseconds; then it holds that long, also without its process. Default: until released or its process ends. */
  expiresInMs?: number;
}

/** A lease in hand. Dispose of it to release it; what it held is then garbage unless something else leads to it. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  /** Holds more: digests of blobs, names of snapshots. On the disk when the promise resolves. */
  hold(...names: string[]): Promise<void>;
}

/** The leases of one directory, which any number of processes of one pid namespace may use. */
export class Leases {
  readonly #directory: string;

  /** @param directory - made when the first lease is */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @throws {LayerStoreError} `INVALID_ARGUMENT` for an id that makes no file name */
  async create(options: LeaseOptions = {}): Promise<Lease> {
    const id = options.id ?? randomBytes(12).toString('hex');
    if (!/^[\w-]{1,128}$/.test(id)) {
      throw new LayerStoreError('INVALID_ARGUMENT', `${JSON.stringify(id)} cannot be the id of a lease`);
    }
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const names = new Set<string>();
    const createdAt = new Date();
    const { expiresInMs } = options;
    const expiresAt = expiresInMs === undefined ? undefined : new Date(createdAt.getTime() + expiresInMs);
    const record = { version: 1, owner: thisOwner, createdAt, expiresAt };
    let writing = this.#write(id, { ...record, names: [] });
    await writing;
    return {
      id,
      hold: async (...more) => {
        for (const name of more) names.add(name);
        // one after the other: the last one has all
        writing = writing
          .catch(() => undefined)
          .then(() => this.#write(id, { ...record, names: [...names] }));
        await writing;
      },
      [Symbol.asyncDispose]: () => this.delete(id),
    };
  }

  /** Every lease that holds. Those that do no longer are removed on the way. */
  async list(now = Date.now()): Promise<LeaseInfo[]> {
    const found: LeaseInfo[] = [];
    for (const file of await this.#files()) {
      const path = join(this.#directory, file);
      const lease = await readLease(path);
      if (lease === undefined) continue;
      const expiresAt = lease.expiresAt === undefined ? undefined : new Date(lease.expiresAt);
      const holds = expiresAt === undefined ? isOwnerAlive(lease.owner) : expiresAt.getTime() > now;
      if (holds) {
        const id = file.slice(0, -'.json'.length);
        found.push({ id, createdAt: new Date(lease.createdAt), expiresAt, names: lease.names });
      } else await rm(path, { force: true });
    }
    return found;
  }

  /** Everything that some lease holds. */
  async names(now?: number): Promise<Set<string>> {
    return new Set((await this.list(now)).flatMap(({ names }) => names));
  }

  /** Releases a lease, whosever it is. None of that id is fine. */
  async delete(id: string): Promise<void> {
    await rm(join(this.#directory, `${id}.json`), { force: true });
  }

  async #files(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).filter((file) => file.endsWith('.json'));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  async #write(id: string, record: object): Promise<void> {
    const temporary = join(this.#directory, `${id}.${randomBytes(6).toString('hex')}`);
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(JSON.stringify(record));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, join(this.#directory, `${id}.json`));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** Undefined for what is gone meanwhile. */
async function readLease(path: string): Promise<z.output<typeof leaseSchema> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    return leaseSchema.parse(JSON.parse(text));
  } catch (error) {
    // taking what it held for garbage would be worse than stopping
    throw new LayerStoreError('CORRUPT_STORE', `cannot understand the lease ${path}`, { cause: error });
  }
}
