/** Garbage collection: keeps what roots reach, removes the rest. */
import {
  chainIds,
  ContainerError,
  digestSchema,
  isDigest,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import { readBytes, type ContentStore } from '@tare/image-spec/content';
import { z } from 'zod';
import { LayerStoreError } from '../errors.ts';
import type { Leases } from './leases.ts';
import type { Snapshotter } from '../snapshot/snapshotter.ts';

/** Options of {@link collectGarbage}. */
export interface GarbageOptions {
  content: ContentStore;
  /** Left alone when not given. */
  snapshots?: Snapshotter;
  /** Manifests and indexes to keep, with all that they lead to. What of it is not there is passed over. */
  roots: Iterable<Descriptor>;
  /** Blobs to keep that no manifest names, or not yet: those of a pull that is under way. */
  keepBlobs?: Iterable<Digest>;
  /** Whose blobs and snapshots stay, with the parents of these. */
  leases?: Leases;
  /**
   * Blobs and snapshots younger than this stay, in milliseconds. Default 0. Something that is written after the roots
   * were collected always stays.
   */
  minAgeMs?: number;
  signal?: AbortSignal;
}

/** What {@link collectGarbage} removed. */
export interface GarbageReport {
  blobs: Digest[];
  /** Bytes of the blobs. */
  blobBytes: number;
  /** ChainIDs. */
  snapshots: string[];
}

/** Larger documents are no manifests. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** Documents inside documents; real ones have two levels, and a chain without end must stop. */
const MAX_DEPTH = 8;

/** The references of every kind of document, wherever they stand. */
const reference = z.looseObject({ mediaType: z.string().optional(), digest: z.string(), size: z.number() });
const documentSchema = z.looseObject({
  manifests: z.array(reference).optional(),
  config: reference.optional(),
  layers: z.array(reference).optional(),
  blobs: z.array(reference).optional(),
  subject: reference.optional(),
  rootfs: z.looseObject({ diff_ids: z.array(digestSchema) }).optional(),
});

/**
 * Removes every blob and committed snapshot that no root leads to.
 *
 * Active snapshots keep their parents whatever the roots say. Runs beside readers; writers of blobs that no root
 * reaches yet must be named in `keepBlobs` or covered by `minAgeMs`.
 *
 * @throws {ContainerError} when a kept document cannot be read: nothing is removed then
 */
export async function collectGarbage(options: GarbageOptions): Promise<GarbageReport> {
  const { content, snapshots, signal } = options;
  const limit = Date.now() - (options.minAgeMs ?? 0);
  const signalOption = signal === undefined ? {} : { signal };
  const marked = await mark(content, options.roots, signalOption);
  for (const digest of options.keepBlobs ?? []) marked.blobs.add(digest);
  for (const name of (await options.leases?.names()) ?? []) {
    // a parent of what is held is refused by the snapshotter
    marked.chains.add(name);
    if (isDigest(name)) marked.blobs.add(name);
  }
  const report: GarbageReport = { blobs: [], blobBytes: 0, snapshots: [] };
  // snapshots first: without their blobs they could not be made again, without them the blobs are only blobs
  for (const { name, kind, createdAt } of (await listed(snapshots, signalOption)).reverse()) {
    if (kind !== 'committed' || marked.chains.has(name) || createdAt.getTime() >= limit) continue;
    if (await removeUnused(snapshots!, name, signalOption)) report.snapshots.push(name);
  }
  for await (const { digest, size, createdAt } of content.list(signalOption)) {
    if (marked.blobs.has(digest) || createdAt.getTime() >= limit) continue;
    await content.delete(digest, signalOption);
    report.blobs.push(digest);
    report.blobBytes += size;
  }
  return report;
}

interface Marked {
  blobs: Set<Digest>;
  chains: Set<string>;
}

async function mark(
  content: ContentStore,
  roots: Iterable<Descriptor>,
  signalOption: { signal?: AbortSignal },
): Promise<Marked> {
  const marked: Marked = { blobs: new Set(), chains: new Set() };
  let level = [...roots];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) {
      throw new LayerStoreError(
        'LIMIT_EXCEEDED',
        `documents refer to each other more than ${MAX_DEPTH} levels deep`,
      );
    }
    const next: Descriptor[] = [];
    for (const descriptor of level) {
      if (marked.blobs.has(descriptor.digest)) continue;
      marked.blobs.add(descriptor.digest);
      const document = await readDocument(content, descriptor, signalOption);
      if (document === undefined) continue;
      const { manifests, config, layers, blobs, subject, rootfs } = document;
      // what is no digest names no blob of ours
      for (const { digest } of [...(layers ?? []), ...(blobs ?? [])])
        if (isDigest(digest)) marked.blobs.add(digest);
      for (const child of [...(manifests ?? []), config, subject]) {
        if (child === undefined || !isDigest(child.digest)) continue;
        next.push({ ...child, mediaType: child.mediaType ?? '', digest: child.digest });
      }
      if (rootfs !== undefined) {
        for (const chain of await chainIds(rootfs.diff_ids)) marked.chains.add(chain);
      }
    }
    level = next;
  }
  return marked;
}

/** A blob as a document; undefined when it is not there or is none. */
async function readDocument(
  content: ContentStore,
  descriptor: Descriptor,
  signalOption: { signal?: AbortSignal },
): Promise<z.output<typeof documentSchema> | undefined> {
  const info = await content.info(descriptor.digest, signalOption);
  if (info === undefined || info.size > MAX_DOCUMENT_BYTES) return undefined;
  const bytes = await readBytes(
    await content.fetch({ ...descriptor, size: info.size }, signalOption),
    info.size,
  );
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    // the config of an artifact may be anything
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const parsed = documentSchema.safeParse(json);
  return parsed.success ? parsed.data : undefined;
}

async function listed(
  snapshots: Snapshotter | undefined,
  signalOption: { signal?: AbortSignal },
): Promise<{ name: string; kind: string; createdAt: Date }[]> {
  return snapshots === undefined ? [] : Array.fromAsync(snapshots.list(signalOption));
}

async function removeUnused(
  snapshots: Snapshotter,
  name: string,
  signalOption: { signal?: AbortSignal },
): Promise<boolean> {
  try {
    await snapshots.remove(name, signalOption);
    return true;
  } catch (error) {
    // of any implementation, and of any copy of this package
    if (ContainerError.is(error) && error.code === 'IN_USE') return false;
    throw error;
  }
}
