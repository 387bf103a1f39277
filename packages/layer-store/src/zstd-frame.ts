/**
 * Finds where a zstd frame ends, by walking its block headers without decompressing.
 *
 * `node:zlib` decompresses one frame and silently drops what follows, but layers have many: concatenated ones, and
 * those of the zstd:chunked form, which puts each file into a frame and an index into skippable frames.
 *
 * @see https://datatracker.ietf.org/doc/html/rfc8878#section-3.1
 */
import { LayerStoreError } from './errors.ts';

const FRAME_MAGIC = 0xfd2fb528;
/** The last four bits are free. */
const SKIPPABLE_MAGIC = 0x184d2a50;

/** Bytes of the magic number that begins every frame. */
export const MAGIC_BYTES = 4;

/** Follows one frame. Made from its magic number; then {@link ZstdFrame.scan} the bytes after that. */
export class ZstdFrame {
  /** Holds no content. */
  readonly skippable: boolean;
  /** Fields read so far of the header in hand. */
  #field: number[] = [];
  #wanted: number;
  #state: 'descriptor' | 'block' | 'skip-size' = 'descriptor';
  /** Bytes to pass over before the next header. */
  #remaining = 0;
  #last = false;
  #checksumBytes = 0;

  /** @throws {LayerStoreError} `INVALID_TAR` when `magic` begins no frame */
  constructor(magic: number) {
    this.skippable = (magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC;
    if (!this.skippable && magic !== FRAME_MAGIC) {
      throw new LayerStoreError('INVALID_TAR', 'a zstd layer with bytes after its end that are no frame');
    }
    if (this.skippable) this.#state = 'skip-size';
    this.#wanted = this.skippable ? 4 : 1;
  }

  /** Where in `chunk`, from `at` on, the frame ends; undefined when it goes on after it. */
  scan(chunk: Uint8Array, at: number): number | undefined {
    let position = at;
    while (position < chunk.length) {
      if (this.#remaining > 0) {
        const length = Math.min(this.#remaining, chunk.length - position);
        this.#remaining -= length;
        position += length;
      } else {
        this.#field.push(chunk[position]!);
        position += 1;
        if (this.#field.length === this.#wanted) this.#headerField();
      }
      if (this.#last && this.#remaining === 0) return position;
    }
    return undefined;
  }

  #headerField(): void {
    const field = this.#field;
    this.#field = [];
    if (this.#state === 'skip-size') {
      this.#remaining = (field[0]! | (field[1]! << 8) | (field[2]! << 16) | (field[3]! << 24)) >>> 0;
      this.#last = true;
    } else if (this.#state === 'descriptor') {
      const descriptor = field[0]!;
      const singleSegment = (descriptor & 0x20) !== 0;
      const contentSizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
      this.#checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;
      // window descriptor, dictionary id, content size: nothing in them matters here
      this.#remaining = (singleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]! + contentSizeBytes;
      this.#state = 'block';
      this.#wanted = 3;
    } else {
      const header = field[0]! | (field[1]! << 8) | (field[2]! << 16);
      const type = (header >> 1) & 3;
      const RLE = 1;
      this.#last = (header & 1) === 1;
      this.#remaining = (type === RLE ? 1 : header >> 3) + (this.#last ? this.#checksumBytes : 0);
    }
  }
}
