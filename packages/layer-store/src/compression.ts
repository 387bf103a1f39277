/** Decompression of layers: gzip, zstd or none, recognised by their first bytes whatever the media type says. */
import { pipeline } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { LayerStoreError } from './errors.ts';
import { inflateAll } from './inflate.ts';
import { MAGIC_BYTES, ZstdFrame } from './zstd-frame.ts';

/** How a layer is compressed. */
export type Compression = 'none' | 'gzip' | 'zstd';

/** Output buffers; with the default of 16 KiB, the hand-over costs as much as the work, and larger ones only cost memory. */
const CHUNK_SIZE = 256 * 1024;

/** 128 MiB: what `zstd --long` uses. A frame may ask for up to 2 GiB of memory otherwise. */
const MAX_WINDOW_LOG = 27;

/** Recognises a compression by the first bytes (6 of them will do). @throws {LayerStoreError} `UNSUPPORTED` for bzip2 and xz */
export function detectCompression(head: Uint8Array): Compression {
  const starts = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);
  if (starts(0x1f, 0x8b)) return 'gzip';
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
  // a skippable frame may come first
  if (
    head.length >= 4 &&
    (head[0]! & 0xf0) === 0x50 &&
    head[1] === 0x2a &&
    head[2] === 0x4d &&
    head[3] === 0x18
  )
    return 'zstd';
  if (starts(0x42, 0x5a, 0x68)) throw unsupported('bzip2');
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a)) throw unsupported('xz');
  return 'none';
}

/**
 * Decompresses `source`: all members of a gzip file, all frames of a zstd file.
 *
 * Chunks are up to 256 KiB. Stopping early stops the source too. Inflating runs on the thread pool; gzip, with
 * `onThisThread`, on the calling one, and then a chunk is only valid until the one after the next is asked for; `withoutChecksums` leaves
 * it to a caller who knows a digest to find out that bytes are wrong.
 *
 * @throws the error of `node:zlib` (`Z_DATA_ERROR`, `Z_BUF_ERROR` for an end too early) or of `source`
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: { onThisThread?: boolean; withoutChecksums?: boolean } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { onThisThread = false, withoutChecksums = false } = options;
  const iterator = source[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array();
  let compression: Compression;
  try {
    while (head.length < 6) {
      const next = await iterator.next();
      if (next.done === true) break;
      head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
    }
    compression = detectCompression(head);
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
  const whole = prepend(head, iterator);
  if (compression === 'none') yield* whole;
  else if (compression === 'gzip') {
    yield* (
      (onThisThread ? inflateAll(whole, { chunkSize: CHUNK_SIZE, withoutChecksums }) : undefined) ??
      through(whole, createGunzip({ chunkSize: CHUNK_SIZE }))
    );
  } else yield* unzstd(whole);
}

async function* unzstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const frames = zstdFrames(source);
  try {
    for await (const frame of frames) {
      const params = { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG };
      yield* through(frame, createZstdDecompress({ chunkSize: CHUNK_SIZE, params }));
    }
  } finally {
    await frames.return();
  }
}

/** The frames of a zstd file, each as a stream of its bytes; one has to be read to its end before the next. */
async function* zstdFrames(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<AsyncIterable<Uint8Array>, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  /** Read from the source, not yet given to a frame. */
  let rest: Uint8Array = new Uint8Array();
  const more = async (): Promise<boolean> => {
    const next = await iterator.next();
    if (next.done === true) return false;
    rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
    return true;
  };
  async function* bytesOf(frame: ZstdFrame): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = MAGIC_BYTES; ; at = 0) {
      const end = frame.scan(rest, at);
      const piece = rest.subarray(0, end);
      rest = rest.subarray(piece.length);
      if (piece.length > 0) yield piece;
      if (end !== undefined) return;
      // the decompressor finds out that the frame is cut short
      if (!(await more())) return;
    }
  }
  try {
    for (;;) {
      while (rest.length < MAGIC_BYTES && (await more())) continue;
      if (rest.length === 0) return;
      const magic = rest.length < MAGIC_BYTES ? 0 : Buffer.from(rest.subarray(0, 4)).readUInt32LE();
      const frame = new ZstdFrame(magic);
      if (!frame.skippable) yield bytesOf(frame);
      else for await (const _ of bytesOf(frame)) continue;
    }
  } finally {
    await iterator.return?.();
  }
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: NodeJS.ReadWriteStream,
): AsyncGenerator<Uint8Array, void, undefined> {
  // the callback is required; an error also ends the iteration, where it is thrown
  const output = pipeline(source, transform, () => undefined);
  yield* output as AsyncIterable<Buffer>;
}

async function* prepend(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    if (head.length > 0) yield head;
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}

function unsupported(name: string): LayerStoreError {
  return new LayerStoreError(
    'UNSUPPORTED',
    `layers compressed with ${name} are not supported: use gzip or zstd`,
  );
}
