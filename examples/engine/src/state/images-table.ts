/** Images, their names and their digests, as rows. */
import type { Descriptor, Digest } from '@tare/image-spec';
import type { Migration, StateDb } from './db.ts';

export const imagesMigrations: readonly Migration[] = [
  {
    id: 'images/1',
    sql: `
      -- id: digest of the config; config: its JSON text, so that starting a container reads no file
      CREATE TABLE image (
        id TEXT PRIMARY KEY,
        -- JSON array of chainIDs, oldest layer first
        chain TEXT NOT NULL,
        config TEXT NOT NULL,
        tagged_at INTEGER
      ) STRICT;
      -- unpacked size of each layer, measured once
      CREATE TABLE image_layer (
        chain_id TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL
      ) STRICT;
      -- the manifests an image was pulled by: its layers' blobs are reached through them
      CREATE TABLE image_manifest (
        image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        descriptor TEXT NOT NULL,
        PRIMARY KEY (image_id, descriptor)
      ) STRICT;
      -- name: canonical, docker.io/library/busybox:latest
      CREATE TABLE image_tag (
        name TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE
      ) STRICT;
      CREATE INDEX image_tag_image ON image_tag(image_id);
      -- repository@digest under which an image is known to a registry; digest may be an index's
      CREATE TABLE image_digest (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        PRIMARY KEY (repository, digest)
      ) STRICT;
      CREATE INDEX image_digest_image ON image_digest(image_id);
    `,
  },
];

/** One image. */
export interface ImageRow {
  id: Digest;
  /** ChainIDs of its layers, oldest first; the last is the committed snapshot that containers are prepared on. */
  chain: Digest[];
  /** The config's JSON text. */
  config: string;
  taggedAt: Date | undefined;
}

/** One unpacked layer. */
export interface LayerRow {
  chainId: Digest;
  /** What it alone takes on disk. */
  sizeBytes: number;
}

/** One `repository@digest`. */
export interface ImageDigestRow {
  repository: string;
  digest: Digest;
  imageId: Digest;
}

/** The images' tables. */
export class ImagesTable {
  readonly #db: StateDb;
  readonly #statements;

  constructor(db: StateDb) {
    this.#db = db;
    this.#statements = {
      put: db.prepare('INSERT INTO image (id, chain, config) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING'),
      putLayer: db.prepare(
        `INSERT INTO image_layer (chain_id, size_bytes) VALUES (?, ?)
         ON CONFLICT (chain_id) DO UPDATE SET size_bytes = excluded.size_bytes`,
      ),
      layers: db.prepare('SELECT * FROM image_layer'),
      removeLayer: db.prepare('DELETE FROM image_layer WHERE chain_id = ?'),
      get: db.prepare('SELECT * FROM image WHERE id = ?'),
      list: db.prepare('SELECT * FROM image'),
      byPrefix: db.prepare(`SELECT id FROM image WHERE id >= ? AND id < ? LIMIT 2`),
      remove: db.prepare('DELETE FROM image WHERE id = ?'),
      putManifest: db.prepare(
        'INSERT INTO image_manifest (image_id, descriptor) VALUES (?, ?) ON CONFLICT DO NOTHING',
      ),
      removeManifests: db.prepare('DELETE FROM image_manifest WHERE image_id = ?'),
      manifests: db.prepare('SELECT descriptor FROM image_manifest WHERE image_id = ? ORDER BY rowid'),
      putTag: db.prepare(
        `INSERT INTO image_tag (name, image_id) VALUES (?, ?)
         ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id`,
      ),
      touch: db.prepare('UPDATE image SET tagged_at = ? WHERE id = ?'),
      tag: db.prepare('SELECT image_id FROM image_tag WHERE name = ?'),
      tags: db.prepare('SELECT name FROM image_tag WHERE image_id = ? ORDER BY name'),
      allTags: db.prepare('SELECT name, image_id FROM image_tag ORDER BY name'),
      removeTag: db.prepare('DELETE FROM image_tag WHERE name = ?'),
      putDigest: db.prepare(
        `INSERT INTO image_digest (repository, digest, image_id) VALUES (?, ?, ?)
         ON CONFLICT (repository, digest) DO UPDATE SET image_id = excluded.image_id`,
      ),
      digest: db.prepare('SELECT image_id FROM image_digest WHERE repository = ? AND digest = ?'),
      digests: db.prepare('SELECT * FROM image_digest WHERE image_id = ? ORDER BY repository, digest'),
      allDigests: db.prepare('SELECT * FROM image_digest ORDER BY repository, digest'),
      removeDigest: db.prepare('DELETE FROM image_digest WHERE repository = ? AND digest = ?'),
    };
  }

  /** Runs several changes as one. */
  transaction<T>(work: () => T): T {
    return this.#db.transaction(work);
  }

  /** Adds an image; one that is there stays as it is. Its manifest is added to those it is known by. */
  put(
    image: Omit<ImageRow, 'taggedAt'>,
    layers: readonly LayerRow[],
    manifest: Descriptor | undefined,
  ): void {
    this.#db.transaction(() => {
      this.#statements.put.run(image.id, JSON.stringify(image.chain), image.config);
      for (const layer of layers) this.#statements.putLayer.run(layer.chainId, layer.sizeBytes);
      if (manifest) this.#statements.putManifest.run(image.id, JSON.stringify(manifest));
    });
  }

  /** Unpacked sizes of all layers, by chainID. */
  layerSizes(): Map<Digest, number> {
    return new Map(
      this.#statements.layers
        .all()
        .map((row) => [row['chain_id'] as Digest, row['size_bytes'] as number] as const),
    );
  }

  removeLayer(chainId: Digest): void {
    this.#statements.removeLayer.run(chainId);
  }

  get(id: string): ImageRow | undefined {
    const row = this.#statements.get.get(id);
    return row && toImage(row);
  }

  list(): ImageRow[] {
    return this.#statements.list.all().map(toImage);
  }

  /** Up to two ids that begin with `prefix` (`sha256:` and hex digits): two mean it is ambiguous. */
  idsByPrefix(prefix: string): Digest[] {
    // ':' and hex digits all sort before 'g'
    return this.#statements.byPrefix.all(prefix, `${prefix}g`).map((row) => row['id'] as Digest);
  }

  /** Removes an image with its tags, digests and manifests. */
  remove(id: string): void {
    this.#statements.remove.run(id);
  }

  /** Adds a manifest to those the image is known by, before all others. */
  putManifestFirst(id: string, manifest: Descriptor): void {
    this.#db.transaction(() => {
      const others = this.manifests(id);
      this.#statements.removeManifests.run(id);
      for (const each of [manifest, ...others]) this.#statements.putManifest.run(id, JSON.stringify(each));
    });
  }

  /** Descriptors of the manifests the image is known by, the one to use first. */
  manifests(id: string): Descriptor[] {
    return this.#statements.manifests
      .all(id)
      .map((row) => JSON.parse(row['descriptor'] as string) as Descriptor);
  }

  /** Points a canonical name at an image. */
  putTag(name: string, imageId: string, now: Date): void {
    this.#db.transaction(() => {
      this.#statements.putTag.run(name, imageId);
      this.#statements.touch.run(now.getTime(), imageId);
    });
  }

  /** The image a canonical name points at. */
  tag(name: string): Digest | undefined {
    return this.#statements.tag.get(name)?.['image_id'] as Digest | undefined;
  }

  /** Canonical names of one image, sorted. */
  tags(imageId: string): string[] {
    return this.#statements.tags.all(imageId).map((row) => row['name'] as string);
  }

  /** Every canonical name and its image, sorted by name. */
  allTags(): { name: string; imageId: Digest }[] {
    return this.#statements.allTags
      .all()
      .map((row) => ({ name: row['name'] as string, imageId: row['image_id'] as Digest }));
  }

  removeTag(name: string): void {
    this.#statements.removeTag.run(name);
  }

  /** Records that a registry knows the image as `repository@digest`. */
  putDigest(repository: string, digest: string, imageId: string): void {
    this.#statements.putDigest.run(repository, digest, imageId);
  }

  /** The image known as `repository@digest`. */
  digest(repository: string, digest: string): Digest | undefined {
    return this.#statements.digest.get(repository, digest)?.['image_id'] as Digest | undefined;
  }

  /** The registry digests of one image, or of all. */
  digests(imageId?: string): ImageDigestRow[] {
    const rows =
      imageId === undefined ? this.#statements.allDigests.all() : this.#statements.digests.all(imageId);
    return rows.map((row) => ({
      repository: row['repository'] as string,
      digest: row['digest'] as Digest,
      imageId: row['image_id'] as Digest,
    }));
  }

  removeDigest(repository: string, digest: string): void {
    this.#statements.removeDigest.run(repository, digest);
  }
}

function toImage(row: Record<string, unknown>): ImageRow {
  const taggedAt = row['tagged_at'] as number | null;
  return {
    id: row['id'] as Digest,
    chain: JSON.parse(row['chain'] as string) as Digest[],
    config: row['config'] as string,
    taggedAt: taggedAt === null ? undefined : new Date(taggedAt),
  };
}
