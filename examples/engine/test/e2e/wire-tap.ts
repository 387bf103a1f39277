/**
 * A listener between clients and the daemon that passes every byte on as it is, half-closed streams included, and reads
 * along: each reply is held against the API's schemas, whichever client asked for it.
 */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { checkReply, type Exchange } from '../api/check-reply.ts';

/** Bodies above this are not looked at: archives. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;

/** The tap, while it runs. */
export interface WireTap extends AsyncDisposable {
  /** What was wrong with replies so far: one text each. */
  readonly complaints: string[];
  /** Replies that were held against a schema, by method and route. */
  readonly seen: Map<string, number>;
}

/** Listens on `path` and passes on to `target`. */
export async function tapWire(path: string, target: string): Promise<WireTap> {
  const complaints: string[] = [];
  const seen = new Map<string, number>();
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const daemon = connect({ path: target, allowHalfOpen: true });
    const requests: { method: string; target: string }[] = [];
    const reader = new MessageReader((head, body) => {
      const [, method = '', url = ''] = /^(\S+) (\S+)/.exec(head.first) ?? [];
      if (body === undefined) requests.push({ method, target: url });
    });
    const replies = new MessageReader((head, body) => {
      const status = Number(/^HTTP\/1\.\d (\d+)/.exec(head.first)?.[1]);
      if (body === undefined) return;
      const request = requests.shift();
      if (!request) return;
      const exchange: Exchange = { ...request, status, headers: head.headers, body };
      const { route, problem } = checkReply(exchange);
      if (route !== undefined) seen.set(route, (seen.get(route) ?? 0) + 1);
      if (problem !== undefined) complaints.push(problem);
    });
    replies.isBodyless = () => requests[0]?.method === 'HEAD';
    for (const socket of [client, daemon]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    }
    carry(client, daemon, reader);
    carry(daemon, client, replies);
  });
  server.listen({ path });
  await once(server, 'listening');
  return {
    complaints,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await rm(path, { force: true });
    },
  };
}

function carry(from: Socket, to: Socket, reader: MessageReader): void {
  from.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    if (!to.write(chunk)) from.pause();
  });
  to.on('drain', () => from.resume());
  from.on('end', () => {
    reader.end();
    to.end();
  });
  // either may leave without ceremony, and the other is to see it
  from.on('error', () => to.destroy());
  from.on('close', () => {
    if (!from.readableEnded) to.destroy();
  });
}

interface Head {
  first: string;
  headers: Map<string, string>;
}

/** Tells one HTTP message from the next in a stream of them; after an upgrade it looks no further. */
class MessageReader {
  /** Whether the message that is read has no body, whatever its headers say. */
  isBodyless: () => boolean = () => false;
  readonly #onMessage: (head: Head, body: Buffer | undefined) => void;
  #rest: Buffer = Buffer.alloc(0);
  #head: Head | undefined;
  #body: Buffer[] = [];
  #bodyBytes = 0;
  /** Bytes of body that are still to come; undefined between chunks, Infinity until the end. */
  #left: number | undefined = 0;
  #chunked = false;
  #lost = false;

  /** @param onMessage - called with the head, and once more with the body when that is complete */
  constructor(onMessage: (head: Head, body: Buffer | undefined) => void) {
    this.#onMessage = onMessage;
  }

  push(data: Buffer): void {
    if (this.#lost) return;
    this.#rest = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    while (!this.#lost && this.#step());
  }

  /** The other side sends no more: what had no length is complete. */
  end(): void {
    if (this.#head && this.#left === Number.POSITIVE_INFINITY) this.#finish();
  }

  /** @returns whether there may be more to read */
  #step(): boolean {
    if (!this.#head) return this.#readHead();
    if (this.#chunked && this.#left === undefined) return this.#readChunkHead();
    const taken = this.#rest.subarray(0, this.#left);
    this.#rest = this.#rest.subarray(taken.length);
    this.#keep(taken);
    this.#left = this.#left! - taken.length;
    if (this.#left > 0) return false;
    if (!this.#chunked) this.#finish();
    else this.#left = undefined;
    return true;
  }

  #readHead(): boolean {
    const end = this.#rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [first = '', ...lines] = this.#rest.toString('latin1', 0, end).split('\r\n');
    this.#rest = this.#rest.subarray(end + 4);
    const headers = new Map(
      lines.map((line) => {
        const at = line.indexOf(':');
        return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
      }),
    );
    const head = { first, headers };
    this.#head = head;
    this.#onMessage(head, undefined);
    const status = Number(/^HTTP\/1\.\d (\d+)/.exec(first)?.[1] ?? 0);
    const raw = (headers.get('content-type') ?? '').endsWith('-stream') && !headers.has('transfer-encoding');
    const upgrade = status === 0 && headers.has('upgrade');
    if (status === 101 || (status === 200 && raw) || upgrade) {
      this.#lost = status !== 0;
      // a request that was refused its upgrade has a body like any other; one that got it, none that matters here
      if (upgrade) this.#lost = true;
      return false;
    }
    this.#chunked = /chunked/i.test(headers.get('transfer-encoding') ?? '');
    const length = headers.get('content-length');
    if (this.isBodyless() || status === 204 || status === 304) this.#left = 0;
    else if (this.#chunked) this.#left = undefined;
    else if (length !== undefined) this.#left = Number(length);
    else this.#left = status === 0 ? 0 : Number.POSITIVE_INFINITY;
    if (this.isBodyless()) this.#chunked = false;
    if (this.#left === 0) this.#finish();
    return true;
  }

  #readChunkHead(): boolean {
    const end = this.#rest.indexOf('\r\n');
    if (end < 0) return false;
    const line = this.#rest.toString('latin1', 0, end);
    // the line feed that closes the chunk before
    if (line === '') {
      this.#rest = this.#rest.subarray(2);
      return true;
    }
    const size = Number.parseInt(line, 16);
    if (size === 0) {
      if (this.#rest.length < end + 4) return false;
      this.#rest = this.#rest.subarray(end + 4);
      this.#finish();
      return true;
    }
    this.#rest = this.#rest.subarray(end + 2);
    this.#left = size;
    return true;
  }

  #keep(data: Buffer): void {
    this.#bodyBytes += data.length;
    if (this.#bodyBytes <= MAX_BODY_BYTES) this.#body.push(Buffer.from(data));
  }

  #finish(): void {
    const head = this.#head!;
    const body = Buffer.concat(this.#body);
    this.#head = undefined;
    this.#body = [];
    this.#bodyBytes = 0;
    this.#chunked = false;
    this.#left = 0;
    this.#onMessage(head, body);
  }
}
