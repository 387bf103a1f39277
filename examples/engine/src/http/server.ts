/** The HTTP server: version prefix, headers of every reply, errors, upgrades. Policy-free; routes do the work. */
import { createServer, ServerResponse, type IncomingMessage, type Server } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { EngineError, messageOf, notFound } from '../errors.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import { API_VERSION, splitVersion } from './api-version.ts';
import { RequestContext } from './context.ts';
import { errorReply } from './errors.ts';
import { encodeProgress } from './streams.ts';
import { Query } from './query.ts';
import type { Route } from './route.ts';
import { Router, type RouteMatch } from './router.ts';

/** X-Registry-Config with many registries outgrows Node's 16 KiB; Go's limit is this. */
const MAX_HEADER_BYTES = 1024 * 1024;

/** What the server needs. */
export interface HttpServerOptions {
  routes: readonly Route[];
  jobs: JobQueue;
  log: Logger;
  /** Version text of the `Server` header. */
  serverVersion: string;
  /** Called for every request. */
  onRequest?: (() => void) | undefined;
}

/** The engine's HTTP front. It may listen on several sockets; `handle` one with {@link HttpServer.server}. */
export class HttpServer implements AsyncDisposable {
  readonly #router: Router;
  readonly #jobs: JobQueue;
  readonly #log: Logger;
  readonly #onRequest: () => void;
  readonly #baseHeaders: Readonly<Record<string, string>>;
  readonly #servers: NetServer[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #inFlight = new Set<Promise<void>>();
  /** Aborts with the server: event streams and followed logs have no end of their own. */
  readonly #closing = new AbortController();

  constructor(options: HttpServerOptions) {
    this.#router = new Router(options.routes);
    this.#jobs = options.jobs;
    this.#log = options.log;
    this.#onRequest = options.onRequest ?? (() => undefined);
    this.#baseHeaders = {
      'Api-Version': API_VERSION,
      'Docker-Experimental': 'false',
      Ostype: 'linux',
      Server: `Docker/${options.serverVersion} (linux)`,
    };
  }

  /**
   * A Node server that serves the routes; the caller makes it listen, this object closes it.
   *
   * @param tls - certificates; without them it talks in the clear
   */
  createServer(tls?: TlsOptions): NetServer {
    const http = this.#createHttpServer();
    const server = tls
      ? createTlsServer({ ...tls, ALPNProtocols: ['http/1.1'], allowHalfOpen: true }, (socket) => {
          http.emit('connection', socket);
        })
      : http;
    server.on('tlsClientError', (error) => this.#log.debug({ err: error as Error }, 'TLS handshake failed'));
    // below TLS: a connection whose handshake never ends is closed with the server, too
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#servers.push(server);
    return server;
  }

  #createHttpServer(): Server {
    const server = createServer({
      // docker-py and raw clients send HTTP/1.0-like requests without one
      requireHostHeader: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      // a build context or an image may take longer than any limit
      requestTimeout: 0,
      headersTimeout: 0,
      // Go keeps idle connections; closing them first races with its next POST
      keepAliveTimeout: 0,
      noDelay: true,
      // a stray `Upgrade: h2c` on an ordinary request (curl --http2) is ignored, as HTTP allows
      shouldUpgradeCallback: (request) => this.#match(request)?.route.hijack === true,
    });
    // a client that has shut down its sending side still gets its answer
    (server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
    server.on('connection', (socket) => {
      this.#takeHijacksOut(socket);
      socket.on('error', (error) => this.#log.debug({ err: error }, 'connection failed'));
    });
    server.on('request', (request, response) => {
      this.#track(this.#handle(request, response, undefined));
    });
    server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
    server.on('clientError', (error, socket) => this.#onClientError(error, socket));
    return server;
  }

  #match(request: IncomingMessage): RouteMatch | undefined {
    try {
      const { path } = splitVersion(pathOf(request.url));
      return this.#router.find(request.method ?? '', path);
    } catch {
      // a version out of range: the request is answered by the ordinary road
      return undefined;
    }
  }

  /**
   * Treats requests of hijackable routes as upgrades even when they do not ask for one.
   *
   * Clients of old send the raw stream right behind the body, on the same connection. Node would parse it as the next
   * request. It decides in the parser's `onIncoming`, whose answer 2 means "what follows is not HTTP"; there is no
   * public way to give that answer.
   */
  #takeHijacksOut(socket: Socket): void {
    const { parser } = socket as Socket & {
      parser?: { onIncoming?: (request: IncomingMessage, keepAlive: boolean) => number | void };
    };
    const onIncoming = parser?.onIncoming;
    if (!onIncoming) return;
    parser.onIncoming = (request, keepAlive) => {
      const upgrading = request as IncomingMessage & { upgrade: boolean | null };
      if (upgrading.upgrade || this.#match(request)?.route.hijack !== true) {
        return onIncoming.call(parser, request, keepAlive);
      }
      upgrading.upgrade = true;
      return 2;
    };
  }

  #track(work: Promise<void>): void {
    this.#inFlight.add(work);
    void work.finally(() => this.#inFlight.delete(work));
  }

  /** The socket is out of Node's parser here; until the handler hijacks it, errors are ordinary replies on it. */
  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    response.once('finish', () => {
      response.detachSocket(socket as Socket);
      socket.end();
      socket.resume();
    });
    this.#track(this.#handle(request, response, { socket, head }));
  }

  #onClientError(error: Error & { code?: string }, socket: Duplex): void {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
    const body = `${JSON.stringify({ message: tooLarge ? 'request headers are too large' : 'malformed HTTP request' })}\n`;
    const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request';
    const head = Object.entries(this.#baseHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(
      `HTTP/1.1 ${status}\r\n${head.join('')}Content-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      () => socket.destroy(),
    );
  }

  async #handle(
    request: IncomingMessage,
    response: ServerResponse<IncomingMessage>,
    upgrade: { socket: Duplex; head: Buffer } | undefined,
  ): Promise<void> {
    this.#onRequest();
    for (const [name, value] of Object.entries(this.#baseHeaders)) response.setHeader(name, value);
    const gone = new AbortController();
    const onGone = (): void => gone.abort(new Error('the client went away'));
    response.once('close', () => {
      if (!response.writableFinished) onGone();
    });
    let context: RequestContext | undefined;
    if (upgrade) upgrade.socket.once('close', onGone);
    else {
      // half-close: an HTTP/1 client that stops sending has stopped waiting, except on a hijacked stream
      const onEnd = (): void => {
        if (context?.hijacked !== true) onGone();
      };
      const { socket } = request;
      socket.once('end', onEnd);
      response.once('close', () => socket.off('end', onEnd));
    }
    try {
      const url = request.url ?? '/';
      const { version, path } = splitVersion(pathOf(url));
      const match = this.#router.find(request.method ?? '', path);
      if (!match) throw notFound('page not found');
      const search = url.indexOf('?');
      context = new RequestContext({
        request,
        response,
        path,
        apiVersion: version,
        query: new Query(search < 0 ? '' : url.slice(search + 1)),
        params: match.params,
        signal: AbortSignal.any([gone.signal, this.#closing.signal]),
        upgrade,
        baseHeaders: this.#baseHeaders,
      });
      await this.#run(match.route, context, gone.signal);
    } catch (error) {
      this.#fail(error, request, response, context);
    } finally {
      // a body nobody wanted must not block the connection's next request
      if (!upgrade && !request.readableEnded && response.writableEnded) request.resume();
    }
  }

  async #run(route: Route, context: RequestContext, gone: AbortSignal): Promise<void> {
    if (route.job === undefined) {
      await route.handler(context);
      return;
    }
    await this.#jobs.run(
      route.job,
      async (job) => {
        context.attachJob(job);
        await route.handler(context);
      },
      {
        subject: context.params['id'] ?? context.params['name'],
        ...(route.cancelOnDisconnect === true ? { signal: gone } : {}),
      },
    );
  }

  #fail(
    error: unknown,
    request: IncomingMessage,
    response: ServerResponse<IncomingMessage>,
    context: RequestContext | undefined,
  ): void {
    const { status, body } = errorReply(error);
    const level = status === 500 && context?.signal.aborted !== true ? 'error' : 'debug';
    this.#log[level]({ err: error, method: request.method, url: request.url }, 'request failed');
    if (context?.replied === true) {
      // too late for a status; a JSON stream can still say it, anything else can only be cut
      if (response.headersSent && response.getHeader('content-type') === 'application/json') {
        const code = error instanceof EngineError ? error.detailCode : undefined;
        const errorDetail = { ...(code === undefined ? {} : { code }), message: messageOf(error) };
        response.end(encodeProgress({ errorDetail }));
      } else context.destroy();
      return;
    }
    if (response.destroyed) return;
    if (status === 304) {
      response.writeHead(status).end();
      return;
    }
    response.writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  }

  /** Stops listening, ends every open stream and waits for the handlers. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers.map((server) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      return promise;
    });
    this.#closing.abort(new Error('the engine is shutting down'));
    await Promise.all(this.#inFlight);
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }
}

function pathOf(url = '/'): string {
  const search = url.indexOf('?');
  const path = search < 0 ? url : url.slice(0, search);
  // absolute-form (`GET http://host/path`) is legal and some proxies send it
  return path.startsWith('http://') ? path.replace(/^http:\/\/[^/]*/, '') || '/' : path;
}
