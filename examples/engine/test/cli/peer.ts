/**
 * A daemon's other half of the conversation: answers requests as dockerd was seen to answer them, and keeps a record of
 * what was asked. The command line under test and the stock docker CLI talk to it alike.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One request as the peer saw it, without the version prefix. */
export interface Seen {
  method: string;
  /** Path and query. */
  target: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** What the peer answers with. Objects are sent as JSON. */
export type Answer =
  | { status?: number; json: unknown }
  | { status?: number; lines: unknown[] }
  | { status?: number; bytes: Buffer }
  | { status: number }
  /** Takes the connection over and gives it to `talk`. */
  | { talk: (socket: Socket, seen: Seen) => Promise<void> | void; tty?: boolean }
  /** Sends the headers now and the JSON when it is there, as `/wait` does. */
  | { later: Promise<unknown> };

/** Finds the answer for a request; undefined is a 404. */
export type Script = (seen: Seen, path: string) => Answer | undefined;

export interface Peer extends AsyncDisposable {
  host: string;
  socketPath: string;
  seen: Seen[];
}

const apiVersion = '1.51';

/** Starts a peer on a socket of its own. */
export async function startPeer(script: Script): Promise<Peer> {
  const folder = await mkdtemp(join(tmpdir(), 'tare-cli-peer-'));
  const socketPath = join(folder, 'peer.sock');
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer({ keepAliveTimeout: 0, requireHostHeader: false });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Clients leave without ceremony; that is theirs to do.
    socket.on('error', () => undefined);
  });
  const record = (request: IncomingMessage, body: string): { entry: Seen; path: string } => {
    const target = request.url!.replace(/^\/v[\d.]+/, '');
    const entry = { method: request.method!, target, headers: request.headers, body };
    if (!target.startsWith('/_ping')) seen.push(entry);
    return { entry, path: `${request.method} ${decodeURIComponent(target.split('?')[0]!)}` };
  };
  server.on('request', (request, response) => {
    void (async () => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      const { entry, path } = record(request, body);
      await answer(response, script(entry, path) ?? notFound);
    })();
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    void (async () => {
      const length = Number(request.headers['content-length'] ?? 0);
      let body = head;
      while (body.length < length)
        body = Buffer.concat([body, ((await once(socket, 'data')) as [Buffer])[0]]);
      const { entry, path } = record(request, body.subarray(0, length).toString());
      if (body.length > length) socket.unshift(body.subarray(length));
      const found = script(entry, path);
      if (!found || !('talk' in found)) {
        const text = JSON.stringify((found as { json?: unknown } | undefined)?.json ?? notFound.json);
        const status = (found as { status?: number } | undefined)?.status ?? 404;
        socket.end(
          `HTTP/1.1 ${status} Error\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
        );
        return;
      }
      const type = found.tty ? 'raw-stream' : 'multiplexed-stream';
      socket.write(
        `HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
      );
      await found.talk(socket, entry);
    })();
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    host: `unix://${socketPath}`,
    socketPath,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const notFound = { status: 404, json: { message: 'page not found' } };

async function answer(response: ServerResponse, reply: Answer): Promise<void> {
  response.setHeader('Api-Version', apiVersion);
  response.setHeader('Ostype', 'linux');
  response.statusCode = ('status' in reply ? reply.status : undefined) ?? 200;
  if ('later' in reply) {
    response.setHeader('Content-Type', 'application/json');
    response.flushHeaders();
    response.end(JSON.stringify(await reply.later));
  } else if ('json' in reply) {
    response.setHeader('Content-Type', 'application/json');
    response.end(typeof reply.json === 'string' ? reply.json : JSON.stringify(reply.json));
  } else if ('lines' in reply) {
    response.setHeader('Content-Type', 'application/json');
    response.end(
      reply.lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\r\n`).join(''),
    );
  } else if ('bytes' in reply) {
    response.setHeader('Content-Type', 'application/vnd.docker.multiplexed-stream');
    response.end(reply.bytes);
  } else response.end();
}

/** One frame of a stream that carries stdout (1) and stderr (2). */
export function frame(channel: 1 | 2, text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = channel;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}
