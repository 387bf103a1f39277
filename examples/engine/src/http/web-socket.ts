/** WebSockets in place of an HTTP reply: attach, for browsers. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { invalid } from '../errors.ts';
import type { HijackedStream } from './hijack.ts';

/** A message of a client is a piece of what somebody types or pipes; nobody sends one larger. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * Answers the handshake.
 *
 * @param socket - out of Node's HTTP parser
 * @param onAccepted - called before anything is written to the socket
 * @throws {EngineError} `INVALID` for a request that is no handshake; nothing was written then
 */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  onAccepted: () => void,
): Promise<HijackedStream> {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  const { promise, resolve, reject } = Promise.withResolvers<HijackedStream>();
  server.on('wsClientError', (error) => reject(invalid(`this is no WebSocket handshake: ${error.message}`)));
  server.on('headers', onAccepted);
  server.handleUpgrade(request, socket, head, (webSocket) => {
    resolve({ duplex: createWebSocketStream(webSocket), upgraded: true });
  });
  return promise;
}
