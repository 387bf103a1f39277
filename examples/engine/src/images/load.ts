/** `docker load`: archives of images, as an OCI layout, as `docker save` writes them, or as it wrote them long ago. */
import {
  ContainerError,
  familiarReference,
  formatPlatform,
  imageLayers,
  isAttestation,
  isIndexType,
  isManifestType,
  matchesPlatform,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  parseReference,
  platformOfProcess,
  selectManifest,
  withDefaultTag,
  type Descriptor,
  type Digest,
  type ImageIndex,
  type Platform,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { readImageArchive, type ArchiveStore, type NamedImage } from '@tare/layer-store/archive';

import { invalid, notFound } from '../errors.ts';
import { createImage } from './create.ts';
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

/** Larger documents are refused. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** One message to the client. */
export type LoadMessage =
  | { stream: string }
  | { status: string; id: string; progressDetail: { current: number; total: number } };

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
    const found = await readArchive(
      parts,
      archive,
      (digest) => held.push(images.leases.hold([digest])),
      signal,
    );
    let loaded = 0;
    for (const { descriptor, names } of found) {
      const id = await loadOne(parts, descriptor, onMessage, options);
      if (id === undefined) continue;
      loaded += 1;
      // a tag alone, as some layouts have, names nothing here
      const references = names.filter((name) => /[:/]/.test(name)).map((name) => parseReference(name));
      for (const reference of references.map(withDefaultTag)) {
        images.table.putTag(canonicalTag(reference), id, new Date());
        images.emit('load', id, familiarReference(reference), images.get(id).config.config?.Labels);
        onMessage({ stream: `Loaded image: ${familiarReference(reference)}\n` });
      }
      if (references.length === 0) {
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

async function readArchive(
  { images, blobs }: LoadParts,
  archive: AsyncIterable<Uint8Array>,
  onBlob: (digest: Digest) => void,
  signal: AbortSignal,
): Promise<NamedImage[]> {
  const { content } = images;
  const store: ArchiveStore = {
    fetch: (descriptor, options) => content.fetch(descriptor, options),
    push: (descriptor, stream, options) => content.push(descriptor, stream, options),
    create: (stream, options) => blobs.create(stream, options),
  };
  try {
    return await readImageArchive(withoutForeign(archive), store, { signal, onBlob });
  } catch (error) {
    signal.throwIfAborted();
    if (ContainerError.is(error) && error.code === 'INVALID_ARCHIVE') {
      throw invalid(error.message, { cause: error });
    }
    // anything else that is wrong with what the client sent, as opposed to what is wrong here
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== undefined && !/^(Z_|ZSTD_|UNSUPPORTED|SIZE_|DIGEST_|INVALID_|TOO_LARGE|LIMIT_)/.test(code))
      throw error;
    throw invalid(`the archive cannot be read: ${message}`, { cause: error });
  }
}

async function loadOne(
  { images, unpacker }: LoadParts,
  descriptor: Descriptor,
  onMessage: (message: LoadMessage) => void,
  { quiet, platform, signal }: LoadOptions,
): Promise<Digest | undefined> {
  const document = async (what: Descriptor): Promise<Uint8Array> =>
    readBytes(await images.content.fetch(what, { signal }), MAX_DOCUMENT_BYTES);
  const chosen = isIndexType(descriptor.mediaType)
    ? await choose(images, parseImageIndex(await document(descriptor), descriptor), platform, signal)
    : descriptor;
  if (chosen === undefined) return undefined;
  const manifest = parseImageManifest(await document(chosen), chosen);
  const bytes = await document(manifest.config);
  const config = parseImageConfig(bytes, manifest.config);
  if (config.os !== '' && config.os !== 'linux') {
    throw invalid(`cannot load ${config.os} image on linux`);
  }
  const { os, architecture, variant } = config;
  const own: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  if (platform && !matchesPlatform(platform, own)) return undefined;
  const layers = await imageLayers(manifest, config);
  return createImage(
    images,
    telling(unpacker, quiet ? () => undefined : onMessage),
    { manifest: chosen, layers, config: bytes },
    signal,
  );
}

/** Of the images of an index that are in the archive, the one for `platform`, by default this machine's or else any. */
async function choose(
  images: Images,
  index: ImageIndex,
  platform: Platform | undefined,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const here: Descriptor[] = [];
  for (const entry of index.manifests) {
    const image = isManifestType(entry.mediaType) && !isAttestation(entry);
    if (image && (await images.content.has(entry, { signal }))) here.push(entry);
  }
  try {
    return selectManifest({ ...index, manifests: here }, platform ?? platformOfProcess(process));
  } catch (error) {
    if (!(ContainerError.is(error) && error.code === 'NO_MATCHING_PLATFORM')) throw error;
    return platform === undefined ? here[0] : undefined;
  }
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
