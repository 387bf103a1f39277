/**
 * A tar reader that is fed bytes and calls back: synchronous, so that a layer goes from inflate to the disk without a
 * promise per entry, and byte-exact (names and PAX values are never decoded as text).
 *
 * Reads ustar, seventh edition, star, PAX and GNU archives. Where readers of the world disagree it does what Go's
 * archive/tar does, since that is what images are made with; where a disagreement could hide a file from a scanner
 * (a PAX path beside a different GNU long name, one extended header after another) it refuses.
 */
import { LayerStoreError } from '../errors.ts';
import { type ByteString, type TarEntry } from './entry.ts';
import { BLOCK, decodeHeader, isZeroBlock, number, type RawHeader } from './header.ts';
import { paxNumber, toEntry, type Extensions } from './member.ts';
import { decodePax } from './pax.ts';
import {
  decodeGnuExtents,
  decodePaxSparse,
  SparseMapText,
  validateSparse,
  type SparseExtent,
} from './sparse.ts';

/** Receives the members of an archive, in order: `entry`, `data` any number of times, `entryEnd`. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /**
   * A piece of the current file at `position`. Positions ascend; what they leave out is a hole, also between the last
   * piece and `entry.size`. The bytes are valid during the call only.
   */
  data(bytes: Uint8Array, position: number): void;
  entryEnd(): void;
}

export interface TarReaderOptions {
  /** Most bytes of one extended header, long name or sparse map. Default 1 MiB, as in Go. */
  maxMetadataBytes?: number;
}

/** Parses an archive. Feed it with {@link TarReader.write}, then call {@link TarReader.end}. */
export class TarReader {
  readonly #sink: TarSink;
  readonly #maxMetadataBytes: number;
  /** A block that came in pieces. */
  readonly #carry = Buffer.alloc(BLOCK);
  #carried = 0;
  #state: 'block' | 'data' | 'padding' | 'done' = 'block';
  /** What the next whole block is. */
  #expect: 'header' | 'zero' | 'gnu-sparse' | 'sparse-map' = 'header';
  /** Stored bytes of the current member that are still to come. */
  #remaining = 0;
  #padding = 0;
  /** Bytes of the current extended header; undefined while data belongs to a member. */
  #metadata: Buffer | undefined;
  #metadataType = '';
  #extensions: Extensions = { pax: undefined, longName: undefined, longLink: undefined };
  /** The member whose sparse map is still being read. */
  #pending: TarEntry | undefined;
  #extents: SparseExtent[] | undefined;
  #extent = 0;
  #mapText = new SparseMapText();
  #mapBytes = 0;
  /** Where the next byte goes: in the file, or in the current extent. */
  #position = 0;

  constructor(sink: TarSink, options: TarReaderOptions = {}) {
    this.#sink = sink;
    this.#maxMetadataBytes = options.maxMetadataBytes ?? 1024 * 1024;
  }

  /** Takes the next bytes of the archive. What follows its end mark is ignored. @throws {LayerStoreError} `INVALID_TAR` */
  write(chunk: Uint8Array): void {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < buffer.length && this.#state !== 'done') {
      const available = buffer.length - at;
      if (this.#state === 'data') {
        const length = Math.min(available, this.#remaining);
        this.#data(buffer.subarray(at, at + length));
        at += length;
      } else if (this.#state === 'padding') {
        const length = Math.min(available, this.#padding);
        this.#padding -= length;
        at += length;
        if (this.#padding === 0) this.#state = 'block';
      } else if (this.#carried === 0 && available >= BLOCK) {
        this.#block(buffer, at);
        at += BLOCK;
      } else {
        const length = Math.min(available, BLOCK - this.#carried);
        buffer.copy(this.#carry, this.#carried, at, at + length);
        this.#carried += length;
        at += length;
        if (this.#carried === BLOCK) {
          this.#carried = 0;
          this.#block(this.#carry, 0);
        }
      }
    }
  }

  /** Says that there is no more. @throws {LayerStoreError} `INVALID_TAR` when the archive stops inside a member */
  end(): void {
    // padding of the last member may be missing, as may the end mark: GNU tar and Go accept both
    const atBoundary = this.#state === 'padding' || (this.#state === 'block' && this.#carried === 0);
    const complete = this.#expect === 'header' || this.#expect === 'zero';
    if (this.#state === 'done' || (atBoundary && complete && !this.#isExtended())) return;
    throw cutShort();
  }

  #isExtended(): boolean {
    const { pax, longName, longLink } = this.#extensions;
    return (pax ?? longName ?? longLink) !== undefined;
  }

  #block(buffer: Buffer, at: number): void {
    if (this.#expect === 'gnu-sparse') this.#gnuSparseBlock(buffer, at);
    else if (this.#expect === 'sparse-map') this.#sparseMapBlock(buffer.subarray(at, at + BLOCK));
    else if (isZeroBlock(buffer, at)) {
      if (this.#isExtended()) throw cutShort();
      if (this.#expect === 'zero') this.#state = 'done';
      this.#expect = 'zero';
    } else if (this.#expect === 'zero') {
      throw new LayerStoreError('INVALID_TAR', 'the archive goes on after a lone block of zeros');
    } else this.#header(decodeHeader(buffer, at), buffer, at);
  }

  #header(raw: RawHeader, buffer: Buffer, at: number): void {
    if ('xgLK'.includes(raw.typeFlag)) {
      if (raw.size > this.#maxMetadataBytes) {
        throw new LayerStoreError(
          'LIMIT_EXCEEDED',
          `an extended header of ${raw.size} bytes; at most ${this.#maxMetadataBytes} are accepted`,
        );
      }
      this.#metadata = Buffer.alloc(raw.size);
      this.#metadataType = raw.typeFlag;
      this.#content(raw.size);
      return;
    }
    const extensions = this.#extensions;
    this.#extensions = { pax: undefined, longName: undefined, longLink: undefined };
    const pax =
      extensions.pax === undefined ? undefined : new Map(extensions.pax.map((r) => [r.key, r.value]));
    const sparse = extensions.pax === undefined ? undefined : decodePaxSparse(extensions.pax);
    const entry = toEntry(raw, extensions, pax, sparse);
    const size = pax?.get('size');
    const stored = size === undefined || size.length === 0 ? raw.size : paxNumber(size, 'size');
    // links, devices and directories have no content whatever their size field says (POSIX, Go)
    this.#remaining = entry.type === 'file' ? stored : 0;
    if (raw.typeFlag === 'S') {
      entry.size = number(buffer, at + 483, 12, 'real size');
      this.#extents = decodeGnuExtents(buffer, at + 386, 4);
      this.#await(entry, buffer[at + 482] === 0 ? undefined : 'gnu-sparse');
    } else if (sparse !== undefined && entry.type === 'file') {
      entry.size = sparse.realSize;
      this.#extents = sparse.extents;
      this.#mapText = new SparseMapText();
      this.#await(entry, sparse.extents === undefined ? 'sparse-map' : undefined);
    } else {
      entry.size = this.#remaining;
      this.#extents = undefined;
      this.#start(entry);
    }
  }

  /** Starts `entry`, or first reads the rest of its sparse map from blocks of kind `expect`. */
  #await(entry: TarEntry, expect: 'gnu-sparse' | 'sparse-map' | undefined): void {
    this.#mapBytes = 0;
    if (expect === undefined) {
      this.#start(entry);
      return;
    }
    this.#pending = entry;
    this.#expect = expect;
  }

  #gnuSparseBlock(buffer: Buffer, at: number): void {
    this.#countMap();
    for (const extent of decodeGnuExtents(buffer, at, 21)) this.#extents!.push(extent);
    if (buffer[at + 504] === 0) this.#startPending();
  }

  #sparseMapBlock(block: Buffer): void {
    this.#countMap();
    if (this.#remaining < BLOCK)
      throw new LayerStoreError('INVALID_TAR', 'a sparse map longer than its member');
    this.#remaining -= BLOCK;
    this.#extents = this.#mapText.push(block);
    if (this.#extents !== undefined) this.#startPending();
  }

  #countMap(): void {
    this.#mapBytes += BLOCK;
    if (this.#mapBytes > this.#maxMetadataBytes) {
      throw new LayerStoreError(
        'LIMIT_EXCEEDED',
        `a sparse map of more than ${this.#maxMetadataBytes} bytes`,
      );
    }
  }

  #startPending(): void {
    this.#expect = 'header';
    this.#start(this.#pending!);
    this.#pending = undefined;
  }

  #start(entry: TarEntry): void {
    if (this.#extents !== undefined) {
      validateSparse({ extents: this.#extents, realSize: entry.size }, this.#remaining);
    }
    this.#position = 0;
    this.#extent = 0;
    this.#metadata = undefined;
    this.#sink.entry(entry);
    this.#content(this.#remaining);
  }

  /** Expects `size` stored bytes next. */
  #content(size: number): void {
    this.#remaining = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    this.#state = 'data';
    if (size === 0) this.#contentEnd();
  }

  #data(bytes: Buffer): void {
    if (this.#metadata !== undefined) {
      bytes.copy(this.#metadata, this.#metadata.length - this.#remaining);
    } else if (this.#extents === undefined) {
      this.#sink.data(bytes, this.#position);
      this.#position += bytes.length;
    } else this.#sparseData(bytes, this.#extents);
    this.#remaining -= bytes.length;
    if (this.#remaining === 0) this.#contentEnd();
  }

  #sparseData(bytes: Buffer, extents: SparseExtent[]): void {
    let at = 0;
    while (at < bytes.length) {
      const extent = extents[this.#extent]!;
      const length = Math.min(bytes.length - at, extent.length - this.#position);
      if (length > 0) this.#sink.data(bytes.subarray(at, at + length), extent.offset + this.#position);
      at += length;
      this.#position += length;
      if (this.#position === extent.length) {
        this.#extent++;
        this.#position = 0;
      }
    }
  }

  #contentEnd(): void {
    this.#state = this.#padding === 0 ? 'block' : 'padding';
    if (this.#metadata === undefined) {
      this.#sink.entryEnd();
      return;
    }
    const bytes = this.#metadata;
    this.#metadata = undefined;
    if (this.#metadataType === 'x') this.#extend('pax', decodePax(bytes));
    else if (this.#metadataType === 'L') this.#extend('longName', untilNul(bytes));
    else if (this.#metadataType === 'K') this.#extend('longLink', untilNul(bytes));
    // a global header only has to be well-formed: Go and all image tools ignore what it says
    else decodePax(bytes);
  }

  #extend<K extends keyof Extensions>(kind: K, value: Extensions[K]): void {
    if (this.#extensions[kind] !== undefined) {
      throw new LayerStoreError('INVALID_TAR', 'two extended headers of one kind for one member');
    }
    this.#extensions[kind] = value;
  }
}

function untilNul(bytes: Buffer): ByteString {
  const nul = bytes.indexOf(0);
  return bytes.toString('latin1', 0, nul === -1 ? bytes.length : nul);
}

function cutShort(): LayerStoreError {
  return new LayerStoreError('INVALID_TAR', 'the archive is cut short: it ends inside a member');
}
