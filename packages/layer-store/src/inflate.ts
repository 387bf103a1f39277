/**
 * Gzip, inflated on the calling thread into two buffers that are used by turns. For threads that do nothing else:
 * the streams of `node:zlib` hand every piece to the thread pool and back, in new memory, which costs as much as the work.
 *
 * `node:zlib` has no such call in public. This is the one that its own synchronous functions make (and npm's tar through
 * them); where it is not as expected, there is no {@link inflater} and the streams serve.
 */
import { constants, createGunzip, createInflateRaw, type Gunzip, type InflateRaw } from 'node:zlib';
import { GZIP_TRAILER_BYTES, gzipHeaderBytes, zlibError } from './gzip.ts';

/** What is used of a zlib stream's inside. */
interface ZlibInside {
  _handle?: {
    writeSync?(
      flush: number,
      input: Uint8Array,
      inputOffset: number,
      inputLength: number,
      output: Uint8Array,
      outputOffset: number,
      outputLength: number,
    ): void;
    onerror?(message: string, errno: number, code: string): void;
  };
  /** Room left in the output, input left, after a call. */
  _writeState?: Uint32Array;
}

/** Inflates pieces of input; of what it gives, the last two are valid. Called with `last` at the end. */
export type Inflate = (input: Uint8Array, last: boolean) => Generator<Uint8Array, unknown, undefined>;

/** How {@link inflater} inflates. */
export interface InflateOptions {
  /** Bytes of a piece of output, at most. */
  chunkSize: number;
  /** The checksums in the file are passed over, for the caller knows a digest of what it gets. Default false. */
  withoutChecksums?: boolean;
}

const NOTHING = new Uint8Array();

/**
 * An inflater of one gzip file, all its members; undefined where this version of Node.js has none.
 *
 * It throws as the streams do: errors with the codes of zlib (`Z_DATA_ERROR`, `Z_BUF_ERROR`).
 */
export function inflater({ chunkSize, withoutChecksums = false }: InflateOptions): Inflate | undefined {
  const zlib = new Zlib(withoutChecksums ? createInflateRaw() : createGunzip(), chunkSize);
  if (!zlib.works) {
    zlib.close();
    return undefined;
  }
  const members = new Members(zlib);
  const inflate: Inflate = withoutChecksums
    ? (input, last) => members.inflate(input, last)
    : (input, last) => zlib.inflate(input, 0, last);
  return function* closing(input, last) {
    let goesOn = false;
    try {
      yield* inflate(input, last);
      goesOn = !last;
    } finally {
      if (!goesOn) zlib.close();
    }
  };
}

/** A stream of zlib, without what makes it a stream. */
class Zlib {
  readonly works: boolean;
  readonly #stream: Gunzip | InflateRaw;
  readonly #inside: Required<ZlibInside>;
  /** What is written next, and what was written last. */
  #output: Buffer;
  #other: Buffer;
  #failure: Error | undefined;

  constructor(stream: Gunzip | InflateRaw, chunkSize: number) {
    this.#stream = stream;
    this.#inside = stream as unknown as Required<ZlibInside>;
    const { _handle: handle, _writeState: state } = stream as unknown as ZlibInside;
    this.works = typeof handle?.writeSync === 'function' && state instanceof Uint32Array && state.length >= 2;
    this.#output = Buffer.allocUnsafeSlow(this.works ? chunkSize : 0);
    this.#other = Buffer.allocUnsafeSlow(this.works ? chunkSize : 0);
    if (!this.works) return;
    handle!.onerror = (message, errno, code) => {
      this.#failure = Object.assign(new Error(message), { errno, code });
    };
  }

  /** Inflates what is deflated from `begin` on. @returns where that ends, or the end of the input */
  *inflate(input: Uint8Array, begin: number, last: boolean): Generator<Uint8Array, number, undefined> {
    const flush = last ? constants.Z_FINISH : constants.Z_NO_FLUSH;
    const { _handle: handle, _writeState: state } = this.#inside;
    for (let at = begin; ;) {
      const output = this.#output;
      handle.writeSync!(flush, input, at, input.byteLength - at, output, 0, output.length);
      if (this.#failure !== undefined) throw this.#failure;
      const [room = 0, left = 0] = state;
      [this.#output, this.#other] = [this.#other, output];
      if (room < output.length) yield output.subarray(0, output.length - room);
      at = input.byteLength - left;
      // with room to spare there is nothing more to come of this input; what is left of it follows the end
      if (room > 0) return at;
    }
  }

  /** For another member. */
  reset(): void {
    // the types have it for deflating streams alone
    (this.#stream as unknown as { reset(): void }).reset();
  }

  close(): void {
    this.#stream.close();
  }
}

/** A gzip file, for a stream that knows nothing of headers and trailers. */
class Members {
  readonly #zlib: Zlib;
  #state: 'header' | 'content' | 'trailer' | 'done' = 'header';
  /** The beginning of a header that came in pieces. */
  #held: Uint8Array = NOTHING;
  #trailerLeft = 0;
  #members = 0;

  constructor(zlib: Zlib) {
    this.#zlib = zlib;
  }

  *inflate(input: Uint8Array, last: boolean): Generator<Uint8Array, void, undefined> {
    let at = 0;
    while (at < input.byteLength && this.#state !== 'done') {
      if (this.#state === 'header') at = this.#header(input, at);
      else if (this.#state === 'content') at = yield* this.#content(input, at);
      else {
        const length = Math.min(this.#trailerLeft, input.byteLength - at);
        this.#trailerLeft -= length;
        at += length;
        if (this.#trailerLeft === 0) this.#state = 'header';
      }
    }
    const ended = this.#state === 'done' || (this.#state === 'header' && this.#held.byteLength === 0);
    if (last && !(ended && this.#members > 0)) throw zlibError('Z_BUF_ERROR', 'unexpected end of file');
  }

  /** @returns where the content begins */
  #header(input: Uint8Array, at: number): number {
    // zeros may fill a file up
    if (this.#members > 0 && this.#held.byteLength === 0 && input[at] === 0) {
      this.#state = 'done';
      return input.byteLength;
    }
    const rest = input.subarray(at);
    const bytes = this.#held.byteLength === 0 ? rest : Buffer.concat([this.#held, rest]);
    const length = gzipHeaderBytes(bytes);
    if (length === undefined) {
      this.#held = Buffer.from(bytes);
      return input.byteLength;
    }
    const begin = at + length - this.#held.byteLength;
    this.#held = NOTHING;
    if (this.#members > 0) this.#zlib.reset();
    this.#members += 1;
    this.#state = 'content';
    return begin;
  }

  /** @returns where the trailer begins, or the end of the input */
  *#content(input: Uint8Array, begin: number): Generator<Uint8Array, number, undefined> {
    const at = yield* this.#zlib.inflate(input, begin, false);
    // it takes all of the input, unless the content has ended
    if (at < input.byteLength) {
      this.#state = 'trailer';
      this.#trailerLeft = GZIP_TRAILER_BYTES;
    }
    return at;
  }
}

/** {@link inflater} over a whole source; undefined as there. */
export function inflateAll(
  source: AsyncIterable<Uint8Array>,
  options: InflateOptions,
): AsyncGenerator<Uint8Array, void, undefined> | undefined {
  const inflate = inflater(options);
  if (inflate === undefined) return undefined;
  return (async function* () {
    for await (const chunk of source) yield* inflate(chunk, false);
    yield* inflate(NOTHING, true);
  })();
}
