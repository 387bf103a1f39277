/**
 * The body of a request whose socket was taken out of Node's HTTP parser.
 *
 * Node stops parsing an upgrade request at the end of its headers. What follows on the socket is first the body
 * (`POST /exec/{id}/start` has one), split anywhere, and only then the raw stream. Left alone the body would become
 * the process's stdin.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { invalid } from '../errors.ts';

/** A chunk header longer than this is no chunk header. */
const MAX_CHUNK_LINE_BYTES = 4096;

/**
 * Reads exactly the body off `socket`; what came after it is put back, to be read as the raw stream.
 *
 * @param head - the bytes Node had read past the headers
 * @throws {EngineError} `INVALID` for a broken or truncated body, or one above `limitBytes`
 */
export async function readUpgradeBody(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  limitBytes: number,
): Promise<Buffer> {
  if (head.length > 0) socket.unshift(head);
  const reader = new SocketReader(socket);
  if (/\bchunked\b/i.test(request.headers['transfer-encoding'] ?? '')) {
    return readChunks(reader, limitBytes);
  }
  const length = Number(request.headers['content-length'] ?? 0);
  if (!Number.isSafeInteger(length) || length < 0) throw invalid('invalid Content-Length');
  if (length > limitBytes) throw tooLarge(limitBytes);
  return length === 0 ? Buffer.alloc(0) : reader.take(length);
}

async function readChunks(reader: SocketReader, limitBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let total = 0;
  for (;;) {
    const line = await reader.takeLine();
    const size = /^([0-9a-fA-F]{1,8})\s*(?:;.*)?$/.exec(line);
    if (!size) throw invalid('invalid chunked request body');
    const length = Number.parseInt(size[1]!, 16);
    if (length === 0) break;
    total += length;
    if (total > limitBytes) throw tooLarge(limitBytes);
    parts.push(await reader.take(length));
    if ((await reader.takeLine()) !== '') throw invalid('invalid chunked request body');
  }
  // trailers end with an empty line
  while ((await reader.takeLine()) !== '') continue;
  return Buffer.concat(parts);
}

export function tooLarge(limitBytes: number): Error {
  return invalid(`request body is larger than the limit of ${limitBytes} bytes`);
}

/** Takes exact amounts off a paused stream and puts the rest back. */
class SocketReader {
  readonly #socket: Duplex;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  async take(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let missing = length;
    while (missing > 0) {
      const chunk = await this.#next();
      parts.push(chunk.subarray(0, missing));
      if (chunk.length > missing) this.#socket.unshift(chunk.subarray(missing));
      missing -= Math.min(missing, chunk.length);
    }
    return Buffer.concat(parts);
  }

  async takeLine(): Promise<string> {
    let line = Buffer.alloc(0);
    for (;;) {
      const chunk = await this.#next();
      const end = chunk.indexOf('\n');
      if (end >= 0) {
        if (end + 1 < chunk.length) this.#socket.unshift(chunk.subarray(end + 1));
        return Buffer.concat([line, chunk.subarray(0, end)])
          .toString('latin1')
          .replace(/\r$/, '');
      }
      line = Buffer.concat([line, chunk]);
      if (line.length > MAX_CHUNK_LINE_BYTES) throw invalid('invalid chunked request body');
    }
  }

  #next(): Promise<Buffer> {
    const socket = this.#socket;
    const ready = socket.read() as Buffer | null;
    if (ready) return Promise.resolve(ready);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk) finish(() => resolve(chunk));
    };
    const onEnd = (): void => finish(() => reject(invalid('the request body ended early')));
    const finish = (settle: () => void): void => {
      socket.off('readable', onReadable);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      socket.off('error', onEnd);
      settle();
    };
    socket.on('readable', onReadable);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    socket.on('error', onEnd);
    return promise;
  }
}
