/** Raw streams in place of an HTTP reply: attach and exec. */
import type { Duplex } from 'node:stream';

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

/**
 * Sends the head of the reply and makes the socket a raw stream: `101 UPGRADED` for a client that asked for an upgrade,
 * `200 OK` without length or chunks for one that did not.
 *
 * @param socket - out of Node's HTTP parser
 * @param protocol - value of the client's `Upgrade` header
 */
export function hijackSocket(
  socket: Duplex,
  headers: Readonly<Record<string, string>>,
  contentType: string,
  protocol: string | undefined,
): HijackedStream {
  const upgraded = protocol !== undefined;
  const lines = [
    upgraded ? 'HTTP/1.1 101 UPGRADED' : 'HTTP/1.1 200 OK',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `Content-Type: ${contentType}`,
    ...(upgraded ? ['Connection: Upgrade', `Upgrade: ${protocol}`] : []),
  ];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
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
  return { duplex: socket, upgraded };
}
