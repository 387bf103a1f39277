/** Results of build steps by what they were made of, as rows. */
import type { Descriptor, Digest } from '@tare/image-spec';
import type { Migration, StateDb } from './db.ts';

export const buildCacheMigrations: readonly Migration[] = [
  {
    id: 'build-cache/1',
    sql: `
      -- key: digest of everything the step's result depends on; layer: JSON of its descriptor and diffID
      CREATE TABLE build_cache (
        key TEXT PRIMARY KEY,
        layer TEXT NOT NULL,
        -- the step, for people
        description TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        used_at INTEGER NOT NULL,
        uses INTEGER NOT NULL
      ) STRICT;
    `,
  },
];

/** The result of one step. */
export interface CachedStep {
  key: Digest;
  layer: { descriptor: Descriptor; diffId: Digest };
  description: string;
  /** Of the blob. */
  sizeBytes: number;
  createdAt: Date;
  usedAt: Date;
  uses: number;
}

/** The build cache's table. */
export class BuildCacheTable {
  readonly #statements;

  constructor(db: StateDb) {
    this.#statements = {
      get: db.prepare('SELECT * FROM build_cache WHERE key = ?'),
      list: db.prepare('SELECT * FROM build_cache ORDER BY used_at'),
      put: db.prepare(
        `INSERT INTO build_cache (key, layer, description, size_bytes, created_at, used_at, uses)
         VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (key) DO UPDATE
         SET layer = excluded.layer, size_bytes = excluded.size_bytes, created_at = excluded.created_at,
           used_at = excluded.used_at`,
      ),
      use: db.prepare('UPDATE build_cache SET used_at = ?, uses = uses + 1 WHERE key = ?'),
      total: db.prepare('SELECT coalesce(sum(size_bytes), 0) AS bytes FROM build_cache'),
      remove: db.prepare('DELETE FROM build_cache WHERE key = ?'),
    };
  }

  get(key: string): CachedStep | undefined {
    const row = this.#statements.get.get(key);
    return row && toStep(row);
  }

  /** Every step, least recently used first. */
  list(): CachedStep[] {
    return this.#statements.list.all().map(toStep);
  }

  put(key: string, layer: CachedStep['layer'], description: string, now: Date): void {
    const { size } = layer.descriptor;
    this.#statements.put.run(key, JSON.stringify(layer), description, size, now.getTime(), now.getTime());
  }

  /** Counts a use. */
  use(key: string, now: Date): void {
    this.#statements.use.run(now.getTime(), key);
  }

  /** Of all steps together. */
  totalBytes(): number {
    return this.#statements.total.get()!['bytes'] as number;
  }

  remove(key: string): void {
    this.#statements.remove.run(key);
  }
}

function toStep(row: Record<string, unknown>): CachedStep {
  return {
    key: row['key'] as Digest,
    layer: JSON.parse(row['layer'] as string) as CachedStep['layer'],
    description: row['description'] as string,
    sizeBytes: row['size_bytes'] as number,
    createdAt: new Date(row['created_at'] as number),
    usedAt: new Date(row['used_at'] as number),
    uses: row['uses'] as number,
  };
}
