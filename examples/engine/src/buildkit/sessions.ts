/** Sessions: connections that a build's client opened, on which it is the server: of its files, secrets and credentials. */
import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Client, type Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import type { OutgoingHttpHeaders } from 'node:http';
import { constants, type ClientHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';

/** How long a build waits for the session it names: the client opens both at once. */
const PATIENCE_MS = 10_000;

/** Only the path of an address counts on a connection that is there already. */
const ADDRESS = 'http://session';

/** A header of this name carries those that have several values, as JSON: `Headers` would join them. */
const REPEATED = 'tare-repeated';

/** One client. */
export class Session {
  readonly id: string;
  /** Aborts when the client is gone. */
  readonly closed: AbortSignal;
  readonly #methods: ReadonlySet<string>;
  readonly #transport: Transport;

  constructor(id: string, methods: readonly string[], socket: Duplex, closed: AbortSignal) {
    this.id = id;
    this.closed = closed;
    this.#methods = new Set(methods.map((method) => method.toLowerCase()));
    const connection = new Http2SessionManager(
      ADDRESS,
      { idleConnectionTimeoutMs: 2 ** 31 - 1 },
      { createConnection: () => socket },
    );
    closed.addEventListener('abort', () => connection.abort(), { once: true });
    this.#transport = createGrpcTransport({ baseUrl: ADDRESS, sessionManager: withRepeated(connection) });
  }

  /** Whether the client serves a method, for example `/moby.filesync.v1.FileSync/DiffCopy`. */
  serves(method: string): boolean {
    return this.#methods.has(method.toLowerCase());
  }

  /** Calls of one of the client's services. */
  client<T extends DescService>(service: T): Client<T> {
    return createClient(service, this.#transport);
  }
}

/** Headers for a call whose fields have several values. Letters beyond ASCII are escaped as fsutil expects. */
export function repeatedHeaders(fields: Readonly<Record<string, readonly string[]>>): Record<string, string> {
  const encoded: Record<string, readonly string[]> = {};
  for (const [name, values] of Object.entries(fields)) {
    const plain = values.every((value) => /^[\x20-\x7e]*$/.test(value));
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
    return endingWell(await request(method, path, { ...others, ...fields }, options));
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

/** All sessions that are open. */
export class Sessions {
  readonly #open = new Map<string, Session>();
  readonly #awaited = new Map<string, PromiseWithResolvers<Session>>();

  /** A session for as long as its connection. */
  async serve(id: string, methods: readonly string[], socket: Duplex, signal: AbortSignal): Promise<void> {
    const gone = new AbortController();
    const closed = Promise.withResolvers<void>();
    socket.once('close', () => closed.resolve());
    const onAbort = (): void => void socket.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    socket.allowHalfOpen = false;
    const session = new Session(id, methods, socket, gone.signal);
    this.#open.set(id, session);
    this.#awaited.get(id)?.resolve(session);
    try {
      await closed.promise;
    } finally {
      if (this.#open.get(id) === session) this.#open.delete(id);
      gone.abort();
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The session, waited for if need be. @throws {ConnectError} `NotFound` */
  async get(id: string, signal: AbortSignal): Promise<Session> {
    const open = this.#open.get(id);
    if (open) return open;
    const awaited = this.#awaited.get(id) ?? Promise.withResolvers<Session>();
    this.#awaited.set(id, awaited);
    const timeout = AbortSignal.timeout(PATIENCE_MS);
    const given = AbortSignal.any([signal, timeout]);
    try {
      return await Promise.race([
        awaited.promise,
        new Promise<never>((_resolve, reject) => {
          given.addEventListener('abort', () =>
            reject(
              new ConnectError(`no active session for ${id}: the client has not opened it`, Code.NotFound),
            ),
          );
        }),
      ]);
    } finally {
      this.#awaited.delete(id);
    }
  }
}
