/** The build cache: results of steps, directories of cache mounts, files of clients; what they take, and how they go. */
import type { Digest } from '@tare/image-spec';

import { removeUnusedBlobs } from '../images/remove.ts';
import type { Images } from '../images/images.ts';
import type { Indexes } from '../images/indexes.ts';
import type { BuildCacheTable, CachedStep } from '../state/build-cache-table.ts';
import type { CacheMounts } from './cache-mounts.ts';
import type { KeptFiles } from './kept-files.ts';

/** One thing in the cache, as clients are shown it. */
export interface CacheRecord {
  id: string;
  kind: 'step' | 'mount' | 'files';
  description: string;
  sizeBytes: number;
  createdAt: Date;
  usedAt: Date;
  uses: number;
  /** By a build that runs. */
  inUse: boolean;
  /** An image has the same content. */
  shared: boolean;
}

/** The kind in BuildKit's words. */
export function cacheRecordType({ kind }: CacheRecord): string {
  return { step: 'regular', mount: 'exec.cachemount', files: 'source.local' }[kind];
}

/** What of the cache goes. What running builds use stays. */
export interface PruneRequest {
  /** Bytes that may stay, most recently used first. Default: 0. */
  keepBytes?: number | undefined;
  /** Only what was last used before. */
  usedBefore?: Date | undefined;
  /** Only what passes. */
  matches?: ((record: CacheRecord) => boolean) | undefined;
}

/** The cache. Its layers stay in the content store for as long as it knows them. */
export class BuildCache {
  readonly mounts: CacheMounts;
  /** Files of clients. */
  readonly files: KeptFiles;
  readonly #indexes: Pick<Indexes, 'clear'>;
  readonly #table: BuildCacheTable;
  readonly #images: Images;
  readonly #limitBytes: number;
  /** By digest of a layer: how many steps have it as their result. */
  readonly #held = new Map<Digest, { steps: number; lease: Disposable }>();

  /** @param parts.limitBytes - {@link collect} keeps steps within it */
  constructor(parts: {
    table: BuildCacheTable;
    images: Images;
    mounts: CacheMounts;
    files: KeptFiles;
    /** Their images for other machines go with everything else. */
    indexes: Pick<Indexes, 'clear'>;
    limitBytes: number;
  }) {
    this.mounts = parts.mounts;
    this.files = parts.files;
    this.#indexes = parts.indexes;
    this.#table = parts.table;
    this.#images = parts.images;
    this.#limitBytes = parts.limitBytes;
    for (const { layer } of this.#table.list()) this.#hold(layer.descriptor.digest);
  }

  /** The result of a step. */
  get(key: string): CachedStep | undefined {
    return this.#table.get(key);
  }

  /** Counts a use. */
  use(key: string): void {
    this.#table.use(key, new Date());
  }

  put(key: string, layer: CachedStep['layer'], about: { description: string; createdAt: Date }): void {
    const before = this.#table.get(key);
    this.#hold(layer.descriptor.digest);
    this.#table.put(key, layer, about.description, about.createdAt);
    if (before) this.#release(before.layer.descriptor.digest);
  }

  /** Everything, least recently used first. */
  async list(): Promise<CacheRecord[]> {
    const diffIds = new Set(this.#images.all().flatMap(({ config }) => config.rootfs.diff_ids));
    const steps = this.#table.list().map((step): CacheRecord => ({
      id: step.key,
      kind: 'step',
      description: step.description,
      sizeBytes: step.sizeBytes,
      createdAt: step.createdAt,
      usedAt: step.usedAt,
      uses: step.uses,
      // one holder is the cache itself
      inUse: this.#images.leases.holders(step.layer.descriptor.digest) > 1,
      shared: diffIds.has(step.layer.diffId),
    }));
    const mounts = (await this.mounts.list()).map(({ name, ...rest }): CacheRecord => ({
      id: name,
      kind: 'mount',
      description: 'directory of a cache mount',
      uses: 1,
      shared: false,
      ...rest,
    }));
    const files = this.files.list().map((record): CacheRecord => ({
      ...record,
      kind: 'files',
      description: 'files of a build context',
      shared: false,
    }));
    return [...steps, ...mounts, ...files].sort((a, b) => a.usedAt.getTime() - b.usedAt.getTime());
  }

  /** Removes what nothing uses, and the layers that are left without an owner. @returns what went */
  async prune({ keepBytes = 0, usedBefore, matches }: PruneRequest = {}): Promise<CacheRecord[]> {
    this.#indexes.clear();
    const all = await this.list();
    let bytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const removed: CacheRecord[] = [];
    const freed = new Set<Digest>();
    for (const record of all) {
      if (keepBytes > 0 && bytes <= keepBytes) break;
      if (record.inUse || matches?.(record) === false) continue;
      if (usedBefore !== undefined && record.usedAt >= usedBefore) continue;
      if (record.kind === 'mount') {
        if (!(await this.mounts.remove(record.id))) continue;
      } else if (record.kind === 'files') {
        if (!this.files.remove(record.id)) continue;
      } else {
        const step = this.#table.get(record.id);
        if (!step) continue;
        this.#table.remove(record.id);
        const { digest } = step.layer.descriptor;
        if (this.#release(digest)) freed.add(digest);
      }
      removed.push(record);
      bytes -= record.sizeBytes;
    }
    await removeUnusedBlobs(this.#images, freed);
    return removed;
  }

  /** Removes the results least recently used while there are more than the limit allows. */
  async collect(): Promise<void> {
    if (this.#table.totalBytes() <= this.#limitBytes) return;
    await this.prune({ keepBytes: this.#limitBytes, matches: ({ kind }) => kind === 'step' });
  }

  #hold(digest: Digest): void {
    const held = this.#held.get(digest);
    if (held) held.steps += 1;
    else this.#held.set(digest, { steps: 1, lease: this.#images.leases.hold([digest]) });
  }

  /** @returns whether that was the last of its steps */
  #release(digest: Digest): boolean {
    const held = this.#held.get(digest);
    if (!held) return false;
    held.steps -= 1;
    if (held.steps > 0) return false;
    held.lease[Symbol.dispose]();
    this.#held.delete(digest);
    return true;
  }
}
