/** Calls of gRPC over a connection that is there already. */
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import type { OutgoingHttpHeaders } from 'node:http';
import { constants, type ClientHttp2Stream, type Http2Session } from 'node:http2';
import type { Duplex } from 'node:stream';

/** Only the path of an address counts on a connection that is there already. */
const ADDRESS = 'http://session';

/** A header of this name carries those that have several values, as JSON: `Headers` would join them. */
const REPEATED = 'tare-repeated';

/** Both sides are most often on one machine. */
export const NO_COMPRESSION: [] = [];

/** What a sender may be ahead by: with the 64 KiB of HTTP/2's own, both sides mostly wait for each other. */
const STREAM_WINDOW_BYTES = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;

/** Options of a session that takes files. */
export const WIDE: { settings: { initialWindowSize: number } } = {
  settings: { initialWindowSize: STREAM_WINDOW_BYTES },
};

const widened = new WeakSet<Http2Session>();

/** The other half of {@link WIDE}: all streams of the session together. */
export function widen(session: Http2Session): void {
  if (widened.has(session) || session.destroyed) return;
  widened.add(session);
  session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
}

/** A transport over `socket`; `close` ends its calls. */
export function transportOver(socket: Duplex): { transport: Transport; close: () => void } {
  const connection = new Http2SessionManager(
    ADDRESS,
    { idleConnectionTimeoutMs: 2 ** 31 - 1 },
    { ...WIDE, createConnection: () => socket },
  );
  return {
    transport: createGrpcTransport({
      baseUrl: ADDRESS,
      sessionManager: withRepeated(connection),
      acceptCompression: NO_COMPRESSION,
    }),
    close: () => void connection.abort(),
  };
}

/**
 * Headers for a call whose fields have several values. Letters beyond ASCII are escaped as fsutil expects; commas too, at
 * which readers of headers may split them.
 */
export function repeatedHeaders(fields: Readonly<Record<string, readonly string[]>>): Record<string, string> {
  const encoded: Record<string, readonly string[]> = {};
  for (const [name, values] of Object.entries(fields)) {
    const plain = values.every((value) => /^[\x20-\x2b\x2d-\x7e]*$/.test(value));
    encoded[name] = plain ? values : values.map((value) => encodeURIComponent(value));
    if (!plain) encoded[`${name}-encoded`] = ['1'];
  }
  return { [REPEATED]: Buffer.from(JSON.stringify(encoded)).toString('base64') };
}

function withRepeated(connection: Http2SessionManager): Http2SessionManager {
  const request = connection.request.bind(connection);
  connection.request = async (method, path, headers: OutgoingHttpHeaders, options) => {
    const { [REPEATED]: repeated, ...others } = headers;
    const fields =
      typeof repeated === 'string'
        ? (JSON.parse(Buffer.from(repeated, 'base64').toString('utf8')) as Record<string, string[]>)
        : {};
    const stream = await request(method, path, { ...others, ...fields }, options);
    if (stream.session) widen(stream.session);
    return endingWell(stream);
  };
  return connection;
}

/**
 * A client that has answered before it saw the end of the request resets the stream without an error, as gRPC allows. All
 * of the answer is here then, but Node.js's iterator throws in place of its end.
 */
function endingWell(stream: ClientHttp2Stream): ClientHttp2Stream {
  const iterate = stream[Symbol.asyncIterator].bind(stream);
  stream[Symbol.asyncIterator] = async function* whole(): AsyncGenerator<Buffer, undefined> {
    const chunks = iterate();
    try {
      for (let got = await chunks.next(); !got.done; got = await chunks.next()) yield got.value as Buffer;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const complete = stream.readableEnded && stream.rstCode === constants.NGHTTP2_NO_ERROR;
      if (code !== 'ERR_STREAM_PREMATURE_CLOSE' || !complete) throw error;
    }
    return undefined;
  };
  return stream;
}
