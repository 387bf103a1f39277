/**
 * The records of a snapshotter: one small JSON file per snapshot, made by link(2) so that it is there whole or not at
 * all, and a copy of all of them in memory.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { digestSchema } from '@tare/image-spec';
import { z } from 'zod';
import { syncDirectory } from '../content/ingest.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import { thisOwner } from '../owner.ts';
import type { SnapshotInfo } from './snapshotter.ts';

const recordSchema = z.object({
  version: z.literal(1),
  name: z.string(),
  kind: z.enum(['committed', 'active', 'view']),
  parent: z.string().optional(),
  /** Name of the snapshot's directory. */
  id: z.string().regex(/^[0-9a-z]+$/),
  createdAt: z.iso.datetime(),
  /** What it takes, when that is known without looking. */
  usage: z.object({ sizeBytes: z.int().nonnegative(), inodes: z.int().nonnegative() }).optional(),
  /** The file system image that it is in. */
  image: z.object({ digest: digestSchema, size: z.int().nonnegative() }).optional(),
});

/** What is kept of one snapshot. */
export type SnapshotRecord = z.output<typeof recordSchema>;

/** Longest name of a snapshot, in bytes after escaping: what a file name holds beside its suffix. */
const MAX_NAME_BYTES = 240;

/** All records of one directory. Synchronous where a container waits for it: a record is one page in the page cache. */
export class SnapshotTable {
  readonly #directory: string;
  readonly #temporary: string;
  readonly #records = new Map<string, SnapshotRecord>();
  /** How many snapshots have this one as their parent. */
  readonly #children = new Map<string, number>();

  /**
   * Reads every record of `directory`. Files that a crash left empty are removed.
   *
   * @param temporary - directory on the same file system for files that are not finished
   * @throws {LayerStoreError} `CORRUPT_STORE` for a record that this version does not understand
   */
  constructor(directory: string, temporary: string) {
    this.#directory = directory;
    this.#temporary = temporary;
    const byId = new Map<string, SnapshotRecord>();
    for (const file of readdirSync(directory)) {
      const record = readRecord(join(directory, file));
      if (record === undefined) {
        rmSync(join(directory, file));
        continue;
      }
      // a commit that did not get to remove the record of the active one
      const twin = byId.get(record.id);
      if (twin === undefined) byId.set(record.id, record);
      else if (twin.kind === 'committed') rmSync(this.#path(record.name));
      else {
        rmSync(this.#path(twin.name));
        byId.set(record.id, record);
      }
    }
    for (const record of byId.values()) this.#remember(record);
  }

  get(name: string): SnapshotRecord | undefined {
    return this.#records.get(name);
  }

  /** All records, parents before children. */
  list(): SnapshotRecord[] {
    const listed = new Set<SnapshotRecord>();
    const visit = (record: SnapshotRecord): void => {
      const chain: SnapshotRecord[] = [];
      for (
        let at: SnapshotRecord | undefined = record;
        at !== undefined && !listed.has(at);
        at = at.parent === undefined ? undefined : this.#records.get(at.parent)
      ) {
        chain.push(at);
      }
      for (const ancestor of chain.reverse()) listed.add(ancestor);
    };
    for (const record of this.#records.values()) visit(record);
    return [...listed];
  }

  hasChildren(name: string): boolean {
    return (this.#children.get(name) ?? 0) > 0;
  }

  /** Adds a record that may be lost with the power. @throws {LayerStoreError} `ALREADY_EXISTS`, `NOT_FOUND` for its parent */
  add(record: SnapshotRecord): void {
    const temporary = this.#writeTemporary(record);
    try {
      this.#publish(temporary, record);
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  /** Adds a record that is on the disk when the promise resolves. @throws {LayerStoreError} `ALREADY_EXISTS`, `NOT_FOUND` for its parent */
  async addDurable(record: SnapshotRecord): Promise<void> {
    const temporary = this.#writeTemporary(record);
    try {
      const file = await open(temporary, 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
      this.#publish(temporary, record);
    } finally {
      rmSync(temporary, { force: true });
    }
    await syncDirectory(this.#directory);
  }

  /** Removes a record; nothing happens when there is none. */
  delete(name: string): void {
    const record = this.#records.get(name);
    if (record === undefined) return;
    rmSync(this.#path(name), { force: true });
    this.#records.delete(name);
    if (record.parent !== undefined) this.#countChild(record.parent, -1);
  }

  #publish(temporary: string, record: SnapshotRecord): void {
    // it may have been removed while the record was written
    if (record.parent !== undefined && !this.#records.has(record.parent)) {
      throw new LayerStoreError('NOT_FOUND', `there is no committed snapshot ${record.parent}`);
    }
    try {
      linkSync(temporary, this.#path(record.name));
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
      throw alreadyExists(record.name);
    }
    this.#remember(record);
  }

  #remember(record: SnapshotRecord): void {
    this.#records.set(record.name, record);
    if (record.parent !== undefined) this.#countChild(record.parent, 1);
  }

  #countChild(parent: string, by: number): void {
    const count = (this.#children.get(parent) ?? 0) + by;
    if (count === 0) this.#children.delete(parent);
    else this.#children.set(parent, count);
  }

  #writeTemporary(record: SnapshotRecord): string {
    this.#path(record.name);
    const path = join(this.#temporary, `${thisOwner}.${randomBytes(6).toString('hex')}`);
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeSync(fd, JSON.stringify(record));
    } finally {
      closeSync(fd);
    }
    return path;
  }

  /** @throws {LayerStoreError} `INVALID_ARGUMENT` for a name that makes no file name */
  #path(name: string): string {
    const escaped = name.isWellFormed() ? encodeURIComponent(name) : '';
    if (escaped === '' || escaped.length > MAX_NAME_BYTES) {
      throw new LayerStoreError(
        'INVALID_ARGUMENT',
        `${JSON.stringify(name)} cannot be the name of a snapshot`,
      );
    }
    return join(this.#directory, `${escaped}.json`);
  }
}

/** What a record says to the caller. */
export function toInfo({ name, kind, parent, createdAt }: SnapshotRecord): SnapshotInfo {
  return { name, kind, parent, createdAt: new Date(createdAt) };
}

/** The error for a name that is taken. */
export function alreadyExists(name: string): LayerStoreError {
  return new LayerStoreError('ALREADY_EXISTS', `there is a snapshot ${name} already`);
}

function readRecord(path: string): SnapshotRecord | undefined {
  const text = readFileSync(path, 'utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // only records that were never synced can be like this, and only after the power failed
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const parsed = recordSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new LayerStoreError('CORRUPT_STORE', `cannot understand the snapshot record ${path}`, {
    cause: parsed.error,
  });
}
