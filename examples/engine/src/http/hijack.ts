/** Raw streams in place of an HTTP reply: attach and exec. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Duplex, type Readable } from 'node:stream';

/** A connection that is a raw byte stream from now on. */
export interface HijackedStream {
  /**
   * Reads what the client sends (its end is the client's half-close; writing goes on), writes to the client. End it
   * when the process has ended and its output is drained: the client waits for that.
   */
  readonly duplex: Duplex;
  /** Whether the client asked for an upgrade and got 101. */
  readonly upgraded: boolean;
}

/** How long a client that got our end-of-stream may keep its side open before it is cut off. */
const LINGER_MS = 10_000;

/** Sends `101 UPGRADED` on a socket that is out of the parser. */
export function hijackUpgraded(
  socket: Duplex,
  headers: Readonly<Record<string, string>>,
  contentType: string,
  protocol: string,
): HijackedStream {
  const lines = ['HTTP/1.1 101 UPGRADED', ...Object.entries(headers).map(([k, v]) => `${k}: ${v}`)];
  lines.push(`Content-Type: ${contentType}`, 'Connection: Upgrade', `Upgrade: ${protocol}`, '', '');
  socket.write(lines.join('\r\n'));
  // a client that never closes its half must not hold the connection for ever
  socket.once('finish', () => {
    socket.resume();
    if (socket.readableEnded) socket.destroy();
    else {
      const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
      socket.once('end', () => socket.destroy());
      socket.once('close', () => clearTimeout(timer));
    }
  });
  return { duplex: socket, upgraded: true };
}

/**
 * Replies `200 OK` and streams without length or chunks, for clients that did not ask for an upgrade. What they send
 * to the process is the rest of the request's body.
 */
export function hijackPlain(
  body: Readable,
  response: ServerResponse<IncomingMessage>,
  contentType: string,
): HijackedStream {
  response.useChunkedEncodingByDefault = false;
  response.shouldKeepAlive = false;
  response.writeHead(200, { 'Content-Type': contentType });
  response.flushHeaders();
  const duplex = new Duplex({
    read() {
      body.resume();
    },
    write(chunk: Buffer, _encoding, callback) {
      response.write(chunk, callback);
    },
    final(callback) {
      response.end(callback);
    },
    destroy(error, callback) {
      if (!response.writableEnded) response.destroy(error ?? undefined);
      callback(error);
    },
  });
  body.on('data', (chunk: Buffer) => {
    if (!duplex.push(chunk)) body.pause();
  });
  // the JSON body of exec start has been read to its end already: there is no more input
  if (body.readableEnded) duplex.push(null);
  else body.once('end', () => duplex.push(null));
  response.once('close', () => duplex.destroy());
  return { duplex, upgraded: false };
}
