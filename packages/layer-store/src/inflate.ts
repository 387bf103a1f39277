/**
 * Gzip, inflated on the calling thread into one buffer that is used again and again. For threads that do nothing else:
 * the streams of `node:zlib` hand every piece to the thread pool and back, in new memory, which costs as much as the work.
 *
 * `node:zlib` has no such call in public. This is the one that its own synchronous functions make (and npm's tar through
 * them); where it is not as expected, there is no {@link inflater} and the streams serve.
 */
import { constants, createGunzip } from 'node:zlib';

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

/** Inflates pieces of input; what it gives is valid until it is asked for more. */
export type Inflate = (input: Uint8Array, last: boolean) => Generator<Uint8Array, void, undefined>;

const NOTHING = new Uint8Array();

/**
 * An inflater of one gzip file, all its members; undefined where this version of Node.js has none.
 *
 * It throws as the streams do: errors with the codes of zlib (`Z_DATA_ERROR`, `Z_BUF_ERROR`). Call it with `last` at the end.
 */
export function inflater(chunkSize: number): Inflate | undefined {
  const stream = createGunzip();
  const { _handle: handle, _writeState: state } = stream as unknown as ZlibInside;
  if (typeof handle?.writeSync !== 'function' || !(state instanceof Uint32Array) || state.length < 2) {
    stream.close();
    return undefined;
  }
  const output = Buffer.allocUnsafeSlow(chunkSize);
  let failure: Error | undefined;
  handle.onerror = (message, errno, code) => {
    failure = Object.assign(new Error(message), { errno, code });
  };
  return function* inflate(input, last) {
    const flush = last ? constants.Z_FINISH : constants.Z_NO_FLUSH;
    let at = 0;
    try {
      for (;;) {
        handle.writeSync!(flush, input, at, input.byteLength - at, output, 0, chunkSize);
        if (failure !== undefined) throw failure;
        const [room = 0, left = 0] = state;
        if (room < chunkSize) yield output.subarray(0, chunkSize - room);
        at = input.byteLength - left;
        // with room to spare there is nothing more to come of this input; what is left of it follows the end
        if (room > 0) break;
      }
    } finally {
      if (last || failure !== undefined) stream.close();
    }
  };
}

/** {@link inflater} over a whole source; undefined as there. */
export function inflateAll(
  source: AsyncIterable<Uint8Array>,
  chunkSize: number,
): AsyncGenerator<Uint8Array, void, undefined> | undefined {
  const inflate = inflater(chunkSize);
  if (inflate === undefined) return undefined;
  return (async function* () {
    for await (const chunk of source) yield* inflate(chunk, false);
    yield* inflate(NOTHING, true);
  })();
}
