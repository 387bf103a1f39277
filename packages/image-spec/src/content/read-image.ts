/** One image out of a source of content: what its documents say, and the documents as they are. */
import type { Descriptor, Platform } from '../descriptor.ts';
import { MAX_DOCUMENT_BYTES } from '../document.ts';
import { ImageSpecError } from '../errors.ts';
import { imageLayers, parseImageConfig, type ImageConfig, type ImageLayer } from '../image-config.ts';
import { selectManifest } from '../image-index.ts';
import { parseManifestDocument, type ImageManifest } from '../manifest.ts';
import type { ContentOptions, ContentSource } from './content.ts';
import { readBytes } from './verify.ts';

/** Indexes inside indexes are followed this deep. */
const MAX_DEPTH = 8;

/** An image, read. */
export interface ReadImage {
  /** Of its manifest, also when it was found through an index. */
  descriptor: Descriptor;
  manifest: ImageManifest;
  /** The bytes behind `descriptor`. */
  manifestBytes: Uint8Array;
  config: ImageConfig;
  configBytes: Uint8Array;
  /** Oldest first, each with its diffID and chainID. */
  layers: ImageLayer[];
}

/**
 * Reads the image at `root`: a manifest, or an index, of which the image for `platform` is taken. Layers are not read.
 *
 * @param platform in Node.js, for this machine: `platformOfProcess(process)`
 * @throws {ImageSpecError} `NO_MATCHING_PLATFORM`, `INVALID_DOCUMENT`, `DIGEST_MISMATCH`, …; what `source` throws
 */
export async function readImage(
  source: ContentSource,
  root: Descriptor,
  platform: Platform,
  options: ContentOptions = {},
): Promise<ReadImage> {
  const read = async (what: Descriptor): Promise<Uint8Array> =>
    readBytes(await source.fetch(what, options), MAX_DOCUMENT_BYTES);
  let descriptor = root;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const manifestBytes = await read(descriptor);
    const document = parseManifestDocument(manifestBytes, descriptor);
    if (document.kind === 'index') {
      descriptor = selectManifest(document.index, platform);
      continue;
    }
    const { manifest } = document;
    const configBytes = await read(manifest.config);
    const config = parseImageConfig(configBytes, manifest.config);
    const layers = await imageLayers(manifest, config);
    return { descriptor, manifest, manifestBytes, config, configBytes, layers };
  }
  throw new ImageSpecError('INVALID_DOCUMENT', `${root.digest} is an index of indexes without end`);
}
