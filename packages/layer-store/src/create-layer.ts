/** Makes a layer's blob of its archive: compressed, hashed on both sides, stored. */
import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream';
import { constants, createGzip, createZstdCompress } from 'node:zlib';
import { MEDIA_TYPES, parseDigest, type Descriptor, type Digest } from '@tare/image-spec';
import type { Compression } from './compression.ts';
import type { ByteString } from './tar/entry.ts';
import type { ContentCreator } from './content/blob-files.ts';

/** Options of {@link createLayer}. */
export interface CreateLayerOptions {
  /** Default `'gzip'`, which every reader of images knows. */
  compression?: Compression;
  /** Default: the fastest, which is within a few percent of the size of the others and several times their speed. */
  level?: number;
  signal?: AbortSignal;
}

/** Options of {@link "layer-store".LayerStore.createLayer} and {@link "layer-store".LayerStore.commitLayer}. */
export interface SnapshotLayerOptions extends CreateLayerOptions {
  /** Paths that are left out with everything below; as in {@link "snapshot/snapshotter".Snapshotter.diff}. */
  without?: ReadonlySet<ByteString>;
  /** Later times of files become this one, in nanoseconds. Default: none do. */
  maxMtimeNs?: bigint | undefined;
}

/** A layer that is in a content store. */
export interface CreatedLayer {
  descriptor: Descriptor;
  /** Digest of the uncompressed archive. */
  diffId: Digest;
  /** Bytes of the uncompressed archive. */
  archiveBytes: number;
}

const MEDIA_TYPE = {
  none: MEDIA_TYPES.ociLayer,
  gzip: MEDIA_TYPES.ociLayerGzip,
  zstd: MEDIA_TYPES.ociLayerZstd,
} as const satisfies Record<Compression, string>;

/** Pieces that the compressor takes and gives. */
const CHUNK_SIZE = 256 * 1024;

/** Stores the uncompressed layer `archive`. The same archive gives the same blob on the same version of Node.js. */
export async function createLayer(
  content: ContentCreator,
  archive: AsyncIterable<Uint8Array>,
  options: CreateLayerOptions = {},
): Promise<CreatedLayer> {
  const { compression = 'gzip', level, signal } = options;
  const signalOption = signal === undefined ? {} : { signal };
  if (compression === 'none') {
    const { digest, size } = await content.create(archive, signalOption);
    return {
      descriptor: { mediaType: MEDIA_TYPE.none, digest, size },
      diffId: digest,
      archiveBytes: size,
    };
  }
  const hash = createHash('sha256');
  let archiveBytes = 0;
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of archive) {
      hash.update(chunk);
      archiveBytes += chunk.byteLength;
      yield chunk;
    }
  }
  const { digest, size } = await content.create(compress(hashed(), compression, level), signalOption);
  return {
    descriptor: { mediaType: MEDIA_TYPE[compression], digest, size },
    diffId: parseDigest(`sha256:${hash.digest('hex')}`),
    archiveBytes,
  };
}

function compress(
  source: AsyncIterable<Uint8Array>,
  compression: Exclude<Compression, 'none'>,
  level: number | undefined,
): AsyncIterable<Uint8Array> {
  const transform =
    compression === 'gzip'
      ? createGzip({ level: level ?? constants.Z_BEST_SPEED, chunkSize: CHUNK_SIZE })
      : createZstdCompress({
          chunkSize: CHUNK_SIZE,
          params: { [constants.ZSTD_c_compressionLevel]: level ?? 1 },
        });
  // the callback is required; an error also ends the iteration, where it is thrown
  return pipeline(source, transform, () => undefined);
}
