/** `docker load`: archives of images, as an OCI layout, as `docker save` writes them, or as it wrote them long ago. */
import {
  familiarReference,
  formatPlatform,
  isDigest,
  matchesPlatform,
  MEDIA_TYPES,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  parseReference,
  withDefaultTag,
  type Descriptor,
  type Digest,
  type ImageConfig,
  type Platform,
  type Reference,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { decompress, detectCompression } from '@tare/layer-store';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { posix } from 'node:path';
import { z } from 'zod';

import { invalid, notFound } from '../errors.ts';
import { createImage, type NewLayer } from './create.ts';
import { withoutForeign } from '../foreign-compression.ts';
import type { Images } from './images.ts';
import { canonicalTag, shortId } from './names.ts';
import type { LayerUnpacker } from './pull.ts';

/** Stores content of which nothing is known before. */
export interface BlobCreator {
  create(
    content: AsyncIterable<Uint8Array>,
    options?: { signal?: AbortSignal },
  ): Promise<{ digest: Digest; size: number }>;
}

/** What loading needs. */
export interface LoadParts {
  images: Images;
  unpacker: LayerUnpacker;
  blobs: BlobCreator;
}

/** One message to the client. */
export type LoadMessage =
  | { stream: string }
  | { status: string; id: string; progressDetail: { current: number; total: number } };

/** `manifest.json` of `docker save`. */
const manifestSchema = z.array(
  z.object({
    Config: z.string(),
    RepoTags: z.array(z.string()).nullish(),
    Layers: z.array(z.string()).nullish(),
  }),
);

/** Larger documents are refused. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
/** Documents kept while the archive is read: their number is the archive's choice. */
const MAX_DOCUMENTS = 10_000;
const MAX_LINKS = 40;

/** What the archive holds, by name. */
interface Archive {
  blobs: Map<string, { digest: Digest; size: number }>;
  links: Map<string, string>;
  documents: Map<string, Buffer>;
}

/** How to load. */
export interface LoadOptions {
  /** Tell of nothing but the images. */
  quiet: boolean;
  /** Only images for this platform. */
  platform?: Platform;
  signal: AbortSignal;
}

/**
 * Loads every image of an archive (plain, gzip, zstd, xz or bzip2), telling `onMessage` how far it is. Names move to the images of
 * the archive. Images that were whole before an error stay.
 *
 * @throws {EngineError} `INVALID` for what is no archive of images
 */
export async function loadImages(
  parts: LoadParts,
  archive: AsyncIterable<Uint8Array>,
  onMessage: (message: LoadMessage) => void,
  options: LoadOptions,
): Promise<void> {
  const { images } = parts;
  const { signal } = options;
  const held: Disposable[] = [];
  try {
    const contents = await readArchive(
      parts,
      archive,
      (digest) => held.push(images.leases.hold([digest])),
      signal,
    );
    const found = imagesIn(contents);
    if (found.length === 0) {
      throw invalid('the archive holds no image: neither manifest.json nor index.json lists one');
    }
    let loaded = 0;
    for (const { config: configName, layers: layerNames, names } of found) {
      const id = await loadOne(parts, contents, configName, layerNames, onMessage, options);
      if (id === undefined) continue;
      loaded += 1;
      for (const name of names) {
        const reference = withDefaultTag(name);
        images.table.putTag(canonicalTag(reference), id, new Date());
        images.emit('load', id, familiarReference(reference), images.get(id).config.config?.Labels);
        onMessage({ stream: `Loaded image: ${familiarReference(reference)}\n` });
      }
      if (names.length === 0) {
        images.emit('load', id, id, images.get(id).config.config?.Labels);
        onMessage({ stream: `Loaded image ID: ${id}\n` });
      }
    }
    if (loaded === 0) {
      throw notFound(
        `requested platform (${formatPlatform(options.platform!)}) not found: the archive has images for other platforms`,
      );
    }
  } finally {
    for (const lease of held) lease[Symbol.dispose]();
  }
}

/** Puts every file of the archive into the content store, and small ones also into memory. */
async function readArchive(
  { images, blobs }: LoadParts,
  source: AsyncIterable<Uint8Array>,
  hold: (digest: Digest) => void,
  signal: AbortSignal,
): Promise<Archive> {
  const result: Archive = { blobs: new Map(), links: new Map(), documents: new Map() };
  const reader = extract();
  const feeding = Readable.from(decompress(withoutForeign(source)))
    .on('error', (error) => reader.destroy(error))
    .pipe(reader);
  try {
    for await (const entry of reader) {
      signal.throwIfAborted();
      const { header } = entry;
      const name = posix.normalize(header.name).replace(/^\.?\//, '');
      if (header.type === 'symlink' || header.type === 'link') {
        const target = header.linkname ?? '';
        result.links.set(name, header.type === 'link' ? target : posix.join(posix.dirname(name), target));
      } else if (header.type === 'file' || header.type === null) {
        const size = header.size ?? 0;
        const keep = size <= MAX_DOCUMENT_BYTES && /(?:\.json|oci-layout|repositories)$|^blobs\//.test(name);
        const content = entry as AsyncIterable<Buffer>;
        if (keep && result.documents.size < MAX_DOCUMENTS && size <= 64 * 1024) {
          const bytes = Buffer.concat(await Array.fromAsync(content));
          result.documents.set(name, bytes);
          result.blobs.set(name, await store(images, blobs, name, size, one(bytes), signal));
        } else {
          result.blobs.set(name, await store(images, blobs, name, size, content, signal));
        }
        hold(result.blobs.get(name)!.digest);
        continue;
      }
      entry.resume();
    }
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== undefined && !/^(Z_|ZSTD_|UNSUPPORTED|SIZE_|DIGEST_)/.test(code)) throw error;
    throw invalid(`the archive cannot be read: ${message}`, { cause: error });
  } finally {
    feeding.destroy();
  }
  return result;
}

/** A file whose name says what it is must be that. */
async function store(
  images: Images,
  blobs: BlobCreator,
  name: string,
  size: number,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<{ digest: Digest; size: number }> {
  const [, algorithm, hex] = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/.exec(name) ?? [];
  const digest = `${algorithm}:${hex}`;
  if (!isDigest(digest)) return blobs.create(content, { signal });
  const descriptor = { mediaType: 'application/octet-stream', digest, size };
  if (await images.content.has(descriptor, { signal })) {
    for await (const _ of content) continue;
  } else await images.content.push(descriptor, content, { signal });
  return { digest, size };
}

/** The images an archive lists: by `manifest.json`, which has Docker's names, else by `index.json`. */
function imagesIn(archive: Archive): { config: string; layers: string[]; names: Reference[] }[] {
  const listed = documentAt(archive, 'manifest.json');
  if (listed) {
    const parsed = manifestSchema.safeParse(listed);
    if (!parsed.success) throw invalid(`manifest.json of the archive: ${z.prettifyError(parsed.error)}`);
    return parsed.data.map(({ Config, RepoTags, Layers }) => ({
      config: Config,
      layers: Layers ?? [],
      names: (RepoTags ?? []).map((name) => parseReference(name)),
    }));
  }
  const index = archive.documents.get('index.json');
  return index === undefined ? [] : layoutImages(archive, index, 'index.json', 0);
}

/** Indexes inside indexes are followed this deep. */
const MAX_DEPTH = 3;

function layoutImages(
  archive: Archive,
  bytes: Buffer,
  name: string,
  depth: number,
): { config: string; layers: string[]; names: Reference[] }[] {
  const index = parseImageIndex(bytes, { ...EMPTY, digest: archive.blobs.get(name)!.digest });
  return index.manifests.flatMap((descriptor) => {
    const path = blobName(descriptor.digest);
    const document = archive.documents.get(path);
    // other platforms may be left out of an archive
    if (document === undefined) return [];
    if (/index|manifest\.list/.test(descriptor.mediaType)) {
      return depth < MAX_DEPTH ? layoutImages(archive, document, path, depth + 1) : [];
    }
    const manifest = parseImageManifest(document, descriptor);
    if (!/(image\.config|container\.image)\.v1\+json$/.test(manifest.config.mediaType)) return [];
    const full = descriptor.annotations?.['io.containerd.image.name'];
    const short = descriptor.annotations?.['org.opencontainers.image.ref.name'];
    const text = full ?? (short?.includes(':') || short?.includes('/') ? short : undefined);
    return [
      {
        config: blobName(manifest.config.digest),
        layers: manifest.layers.map(({ digest }) => blobName(digest)),
        names: text === undefined ? [] : [parseReference(text)],
      },
    ];
  });
}

async function loadOne(
  { images, unpacker }: LoadParts,
  archive: Archive,
  configName: string,
  layerNames: readonly string[],
  onMessage: (message: LoadMessage) => void,
  { quiet, platform, signal }: LoadOptions,
): Promise<Digest | undefined> {
  const configBlob = blobAt(archive, configName);
  const configDescriptor: Descriptor = { mediaType: MEDIA_TYPES.ociConfig, ...configBlob };
  const bytes = await readBytes(await images.content.fetch(configDescriptor, { signal }), MAX_DOCUMENT_BYTES);
  const config: ImageConfig = parseImageConfig(bytes, configDescriptor);
  if (config.os !== '' && config.os !== 'linux') {
    throw invalid(`cannot load ${config.os} image on linux`);
  }
  const { os, architecture, variant } = config;
  const own: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  if (platform && !matchesPlatform(platform, own)) return undefined;
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== layerNames.length) {
    throw invalid(
      `invalid manifest, layers length mismatch: expected ${diffIds.length}, got ${layerNames.length}`,
    );
  }
  const layers: NewLayer[] = [];
  for (const [i, name] of layerNames.entries()) {
    const blob = blobAt(archive, name);
    const mediaType = await layerType(images, blob, signal);
    layers.push({ descriptor: { mediaType, ...blob }, diffId: diffIds[i]! });
  }
  const manifest = manifestIn(archive, configBlob.digest, diffIds);
  return createImage(
    images,
    telling(unpacker, quiet ? () => undefined : onMessage),
    manifest ? { ...manifest, config: bytes } : { layers, config: bytes },
    signal,
  );
}

/** An unpacker that tells the client of every layer. */
function telling(unpacker: LayerUnpacker, onMessage: (message: LoadMessage) => void): LayerUnpacker {
  return {
    unpackLayer: (layer, parent, options) => {
      const { diffId, descriptor } = layer;
      const tell = (current: number): void =>
        onMessage({
          status: 'Loading layer',
          id: shortId(diffId),
          progressDetail: { current, total: descriptor.size },
        });
      return unpacker.unpackLayer(layer, parent, {
        ...options,
        onProgress: throttled(tell, descriptor.size),
      });
    },
  };
}

/** Least time between two messages on one layer. */
const INTERVAL_MS = 100;

function throttled(tell: (bytes: number) => void, total: number): (bytes: number) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (bytes) => {
    const now = performance.now();
    if (now - last < INTERVAL_MS && bytes < total) return;
    last = now;
    tell(bytes);
  };
}

/** The manifest in the archive of the image with this config, byte for byte as its maker wrote it, and its layers. */
function manifestIn(
  archive: Archive,
  config: Digest,
  diffIds: readonly Digest[],
): { manifest: Descriptor; layers: NewLayer[] } | undefined {
  for (const [name, bytes] of archive.documents) {
    if (!name.startsWith('blobs/')) continue;
    let raw: { config?: { digest?: unknown }; mediaType?: unknown } | null;
    try {
      raw = JSON.parse(bytes.toString('utf8')) as typeof raw;
    } catch {
      // a small layer
      continue;
    }
    if (raw?.config?.digest !== config) continue;
    const mediaType = typeof raw.mediaType === 'string' ? raw.mediaType : MEDIA_TYPES.ociManifest;
    const manifest: Descriptor = { mediaType, ...archive.blobs.get(name)! };
    const { layers } = parseImageManifest(bytes, manifest);
    if (layers.length !== diffIds.length) continue;
    return { manifest, layers: layers.map((descriptor, i) => ({ descriptor, diffId: diffIds[i]! })) };
  }
  return undefined;
}

async function layerType(
  images: Images,
  blob: { digest: Digest; size: number },
  signal: AbortSignal,
): Promise<string> {
  const content = await images.content.fetch({ ...EMPTY, ...blob }, { signal });
  for await (const chunk of content) {
    const compression = detectCompression(chunk);
    return { none: MEDIA_TYPES.ociLayer, gzip: MEDIA_TYPES.ociLayerGzip, zstd: MEDIA_TYPES.ociLayerZstd }[
      compression
    ];
  }
  throw invalid(`layer ${blob.digest} of the archive is empty`);
}

const EMPTY = { mediaType: 'application/octet-stream', size: 0 };

function blobName(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** What a name of the archive means, links followed inside of it. */
function blobAt(archive: Archive, name: string): { digest: Digest; size: number } {
  let at = posix.normalize(name);
  for (let links = 0; links < MAX_LINKS; links += 1) {
    const blob = archive.blobs.get(at);
    if (blob) return blob;
    const target = archive.links.get(at);
    if (target === undefined) break;
    at = posix.normalize(target);
  }
  throw invalid(`the archive lists ${JSON.stringify(name)} and does not hold it`);
}

function documentAt(archive: Archive, name: string): unknown {
  const bytes = archive.documents.get(name);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw invalid(`${name} of the archive is no JSON: ${(error as Error).message}`, { cause: error });
  }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
