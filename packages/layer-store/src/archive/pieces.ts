/** Gathers an archive to pieces of one size. */

/** Size of the pieces of archive. */
const PIECE_BYTES = 256 * 1024;
/** A small file and its header may come into one that is nearly full. */
const SLACK_BYTES = 80 * 1024;

/** Options of {@link TarPieces}. */
export interface TarPiecesOptions {
  /**
   * A piece is valid until the next is asked for, and so can be the place of that: megabytes that are new each time cost
   * more than what is done with them, for the garbage collector sees how much was taken and not how short it lives.
   * Default false.
   */
  reusePieces?: boolean | undefined;
}

/** Gathers what is put into it, and what is read straight into it, to pieces of 256 KiB. */
export class TarPieces {
  readonly #reuse: boolean;
  #piece = Buffer.allocUnsafeSlow(PIECE_BYTES + SLACK_BYTES);
  #used = 0;

  constructor({ reusePieces = false }: TarPiecesOptions = {}) {
    this.#reuse = reusePieces;
  }

  get empty(): boolean {
    return this.#used === 0;
  }

  /** Whether the piece is to be taken before more is read into it. */
  get full(): boolean {
    return this.#used >= PIECE_BYTES;
  }

  /** Adds to the piece, which may become larger than usual by it. */
  put(bytes: Uint8Array): void {
    if (this.#used + bytes.length > this.#piece.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#piece.length * 2, this.#used + bytes.length));
      this.#piece.copy(larger, 0, 0, this.#used);
      this.#piece = larger;
    }
    this.#piece.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** The place for up to `length` more bytes of a piece that is not full; {@link TarPieces.add} says how many came. */
  room(length: number): Buffer {
    const end = this.#used + length;
    // what is small comes whole: whoever makes a file of it makes it at once
    return this.#piece.subarray(this.#used, end <= this.#piece.length ? end : PIECE_BYTES);
  }

  add(length: number): void {
    this.#used += length;
  }

  take(): Buffer {
    const piece = this.#piece.subarray(0, this.#used);
    if (!this.#reuse) this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES + SLACK_BYTES);
    this.#used = 0;
    return piece;
  }
}
