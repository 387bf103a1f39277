/** Unpacks one layer: decompress, verify the diffID, parse, write. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { digestAlgorithm, parseDigest, type Digest } from '@tare/image-spec/digest';
import { abortable } from './abort.ts';
import { LayerApplier } from './apply/layer-applier.ts';
import type { ApplyPolicy, ApplyReport } from './apply/policy.ts';
import { decompress } from './compression.ts';
import { LayerStoreError } from './errors.ts';
import type { HashThread, LayerFs } from './fs.ts';
import { TarReader, type TarSink } from './tar/read.ts';

/** How an archive is read, whatever becomes of it. */
export interface ReadOptions {
  /**
   * Most bytes that one compressed byte may become. Default 250: file systems compress to a tenth, zeros to a
   * thousandth.
   */
  maxRatio?: number;
  /** Bytes of the archive after which {@link ApplyOptions.maxRatio} counts. Default 1 GiB. */
  maxRatioAfterBytes?: number;
  /**
   * The calling thread has nothing else to do: it inflates too, and lets other work have its turn rarely. A piece of a
   * source that is not compressed must stay as it is until the one after the next is asked for. Default false.
   */
  ownThread?: boolean;
  /** Cancels; what was written so far stays for the caller to remove. */
  signal?: AbortSignal;
  /** Called with the compressed bytes read so far, once per chunk. */
  onProgress?(bytesRead: number): void;
}

/** Options of {@link applyLayer}. */
export interface ApplyOptions extends ApplyPolicy, ReadOptions {
  /** How to reach the disk: `layerFs` of `@tare/runtime-native/syscalls`, or `nodeLayerFs` without privilege. */
  fs: LayerFs;
  /** Digest that the decompressed archive must have. Not checked when left out. */
  diffId?: Digest;
}

/** What {@link applyLayer} did. */
export interface AppliedLayer extends ApplyReport {
  /** Digest of the decompressed archive. */
  diffId: Digest;
  /** Size of the decompressed archive in bytes. */
  archiveBytes: number;
}

/** Longest piece given to the parser at a time, and longest time before other work gets its turn. */
const SLICE_BYTES = 32 * 1024;
const SLICE_MS = 5;
/** Where nobody waits but the word to stop. */
const OWN_THREAD_SLICE_MS = 50;

/**
 * Unpacks the layer archive `source` (gzip, zstd or plain) into `directory`.
 *
 * Nothing is written outside of `directory`, whatever the archive says, and no symbolic link in it is followed out of
 * it. With `whiteouts: 'overlay'` the directory must be empty. When this throws, the directory holds a part of the
 * layer: unpack into a staging directory and rename it. Writing is synchronous, in slices of a few milliseconds.
 *
 * @throws {LayerStoreError} `INVALID_TAR`, `UNSAFE_ENTRY`, `LIMIT_EXCEEDED`, `DIGEST_MISMATCH`, `UNSUPPORTED`,
 * `IO_ERROR`; or the error of `source`
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
 */
export async function applyLayer(
  source: AsyncIterable<Uint8Array>,
  directory: string,
  options: ApplyOptions,
): Promise<AppliedLayer> {
  options.signal?.throwIfAborted();
  if ((options.whiteouts ?? 'overlay') === 'overlay' && (await readdir(directory)).length > 0) {
    throw new LayerStoreError('INVALID_ARGUMENT', `${directory} must be empty to unpack a layer into it`);
  }
  using applier = new LayerApplier(options.fs, directory, options);
  const algorithm = options.diffId === undefined ? 'sha256' : digestAlgorithm(options.diffId);
  using hash = archiveHash(algorithm, options);
  let archiveBytes = 0;
  await readArchive(source, applier, {
    ...options,
    withoutChecksums: options.diffId !== undefined,
    onBytes: (chunk) => {
      hash.update(chunk);
      archiveBytes += chunk.byteLength;
    },
  });
  const diffId = parseDigest(`${algorithm}:${hash.digest()}`);
  if (options.diffId !== undefined && diffId !== options.diffId) {
    throw new LayerStoreError('DIGEST_MISMATCH', `the layer's diffID is ${diffId}, not ${options.diffId}`);
  }
  return { ...applier.finish(), diffId, archiveBytes };
}

/** Hashes on this thread, or where it has nothing else to do, beside it: that takes as long as all the rest. */
function archiveHash(
  algorithm: 'sha256' | 'sha512',
  { fs, ownThread = false }: Pick<ApplyOptions, 'fs' | 'ownThread'>,
): HashThread {
  const beside = ownThread && availableParallelism() > 1 ? fs.hashThread?.(algorithm) : undefined;
  if (beside !== undefined) return beside;
  const hash = createHash(algorithm);
  return {
    update: (chunk) => void hash.update(chunk),
    digest: () => hash.digest('hex'),
    [Symbol.dispose]: () => undefined,
  };
}

/**
 * Unpacks an archive that is no layer (gzip, zstd or plain) into a tree that others may be using: `docker cp`, build
 * contexts. As confined as {@link applyLayer}; `base` says where in the tree.
 *
 * @throws {LayerStoreError} as {@link applyLayer}; `NOT_FOUND` for a missing `base`, `ALREADY_EXISTS` with `replace: 'same-kind'`
 */
export async function extractTar(
  source: AsyncIterable<Uint8Array>,
  root: string,
  options: Omit<ApplyOptions, 'whiteouts' | 'overlayXattrs' | 'diffId'>,
): Promise<ApplyReport> {
  return applyLayer(source, root, { ...options, whiteouts: 'none' });
}

/**
 * Gives the members of an archive (gzip, zstd or plain) to `sink`, in slices of a few milliseconds.
 *
 * @param options.onBytes - called with every piece of the decompressed archive
 * @param options.withoutChecksums - the caller compares a digest of all pieces, so that of those in a gzip file none is needed
 * @throws {LayerStoreError} `INVALID_TAR`, `LIMIT_EXCEEDED`, `UNSUPPORTED`; or the error of `source` or `sink`
 */
export async function readArchive(
  source: AsyncIterable<Uint8Array>,
  sink: TarSink,
  options: ReadOptions & { onBytes?(chunk: Uint8Array): void; withoutChecksums?: boolean } = {},
): Promise<void> {
  const { signal, maxRatio = 250, maxRatioAfterBytes = 1024 ** 3 } = options;
  const { ownThread = false, withoutChecksums = false } = options;
  const reader = new TarReader(sink);
  let bytesRead = 0;
  let archiveBytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of abortable(source, signal)) {
      bytesRead += chunk.byteLength;
      options.onProgress?.(bytesRead);
      yield chunk;
    }
  }
  const sliceBytes = ownThread ? Infinity : SLICE_BYTES;
  const sliceMs = ownThread ? OWN_THREAD_SLICE_MS : SLICE_MS;
  let sliceStart = performance.now();
  try {
    const inflating = { onThisThread: ownThread, withoutChecksums };
    for await (const chunk of decompress(counted(), inflating)) {
      options.onBytes?.(chunk);
      archiveBytes += chunk.byteLength;
      if (archiveBytes > maxRatioAfterBytes && archiveBytes > bytesRead * maxRatio) {
        throw new LayerStoreError(
          'LIMIT_EXCEEDED',
          `${bytesRead} bytes became more than ${archiveBytes}: that looks like a decompression bomb`,
        );
      }
      for (let at = 0; at < chunk.byteLength; at += sliceBytes) {
        reader.write(chunk.subarray(at, at + sliceBytes));
        if (performance.now() - sliceStart < sliceMs) continue;
        await setImmediate();
        signal?.throwIfAborted();
        sliceStart = performance.now();
      }
    }
  } catch (error) {
    throw decompressionError(error);
  }
  reader.end();
}

/** Errors of zlib are about the archive; all others pass. */
function decompressionError(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  if (typeof error.code !== 'string' || !/^(Z_|ZSTD_)/.test(error.code)) return error;
  return new LayerStoreError('INVALID_TAR', `the layer cannot be decompressed: ${error.message}`, {
    cause: error,
  });
}
