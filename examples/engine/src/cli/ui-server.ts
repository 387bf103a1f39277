/**
 * The dashboard's server: the page, and the daemon's API behind it, for one person on this machine. It listens on loopback,
 * answers only those who know its token, and hands on nothing but questions: no request that changes something.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pipeline } from 'node:stream/promises';
import type { DaemonClient } from './client.ts';
import { CliError, DaemonError, messageOf } from './errors.ts';

/** Where the bundler puts the page: beside this program, or in the build of the sources. */
const PAGE = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/ui/' : './ui/', import.meta.url),
);

const files: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/app.js': ['app.js', 'text/javascript; charset=utf-8'],
  '/app.css': ['app.css', 'text/css; charset=utf-8'],
};

const COOKIE = 'tare-ui';
/** Nothing but what comes from here, and nobody may frame it. uPlot sets styles of elements. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** A running dashboard. */
export interface UiServer extends AsyncDisposable {
  /** The address to open, token included. */
  url: string;
}

/**
 * Starts it.
 *
 * @param port 0 for any that is free
 * @throws {CliError} when the page was not built, or the port is taken
 */
export async function startUiServer(client: DaemonClient, port: number): Promise<UiServer> {
  const page = readPage();
  const token = randomBytes(24).toString('base64url');
  const server: Server = createServer((request, response) => {
    void new Visit(request, response, client, page, token, server).answer();
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (cause: NodeJS.ErrnoException) =>
    reject(new CliError(`cannot listen on 127.0.0.1:${port}: ${cause.message}`, { cause })),
  );
  server.listen({ host: '127.0.0.1', port }, resolve);
  await promise;
  return {
    url: `http://${hostOf(server)}/?token=${token}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

function hostOf(server: Server): string {
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

function readPage(): Map<string, Buffer> {
  try {
    return new Map(Object.entries(files).map(([path, [file]]) => [path, readFileSync(join(PAGE, file))]));
  } catch (cause) {
    throw new CliError(`the dashboard is not built: run 'node tools/boot.mjs' in the repository's root`, {
      cause,
    });
  }
}

/** One request. */
class Visit {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #client: DaemonClient;
  readonly #page: ReadonlyMap<string, Buffer>;
  readonly #token: string;
  readonly #host: string;
  readonly #url: URL;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    client: DaemonClient,
    page: ReadonlyMap<string, Buffer>,
    token: string,
    server: Server,
  ) {
    this.#request = request;
    this.#response = response;
    this.#client = client;
    this.#page = page;
    this.#token = token;
    this.#host = hostOf(server);
    this.#url = new URL(request.url ?? '/', `http://${this.#host}`);
  }

  async answer(): Promise<void> {
    const response = this.#response;
    response.setHeader('Content-Security-Policy', POLICY);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('Referrer-Policy', 'no-referrer');
    response.setHeader('Cache-Control', 'no-store');
    const { method, headers } = this.#request;
    // another name for loopback would let any page of the web ask in its visitor's stead
    const known =
      headers.host === this.#host || headers.host === this.#host.replace('127.0.0.1', 'localhost');
    if (!known) return this.#refuse(421, 'this is not the host that was asked for');
    if (method !== 'GET' && method !== 'HEAD') return this.#refuse(405, 'the dashboard only looks');
    const given = this.#url.searchParams.get('token');
    if (given !== null && this.#isToken(given)) return this.#enter();
    if (!this.#isToken(this.#cookie())) {
      return this.#refuse(401, "open the address that 'tare ui' has printed");
    }
    const file = this.#page.get(this.#url.pathname);
    if (file) {
      response.setHeader('Content-Type', files[this.#url.pathname]![1]);
      response.end(file);
    } else if (this.#url.pathname.startsWith('/api/')) await this.#handOn();
    else this.#refuse(404, 'there is no such page');
  }

  /** The token moves from the address, where histories keep it, to a cookie that scripts cannot read. */
  #enter(): void {
    this.#response.setHeader('Set-Cookie', `${COOKIE}=${this.#token}; HttpOnly; SameSite=Strict; Path=/`);
    this.#response.setHeader('Location', '/');
    this.#response.writeHead(303).end();
  }

  #cookie(): string {
    const cookies = (this.#request.headers.cookie ?? '').split(/; */).map((pair) => pair.split('=', 2));
    return cookies.find(([name]) => name === COOKIE)?.[1] ?? '';
  }

  #isToken(text: string): boolean {
    const given = Buffer.from(text);
    const own = Buffer.from(this.#token);
    return given.length === own.length && timingSafeEqual(given, own);
  }

  async #handOn(): Promise<void> {
    const stop = new AbortController();
    this.#response.once('close', () => stop.abort(new Error('the page is gone')));
    try {
      const path = this.#url.pathname.slice('/api'.length);
      const query = Object.fromEntries(this.#url.searchParams);
      const answer = await this.#client.call('GET', path, { query, signal: stop.signal });
      this.#response.setHeader('Content-Type', answer.headers['content-type'] ?? 'application/json');
      this.#response.writeHead(answer.statusCode!);
      // a stream that is silent for now must not look like one that has not begun
      this.#response.flushHeaders();
      await pipeline(answer, this.#response);
    } catch (error) {
      if (stop.signal.aborted) return;
      if (this.#response.headersSent) this.#response.destroy();
      else this.#refuse(error instanceof DaemonError ? error.status : 502, messageOf(error));
    }
  }

  #refuse(status: number, message: string): void {
    this.#response.setHeader('Content-Type', 'application/json');
    this.#response.writeHead(status).end(JSON.stringify({ message }));
  }
}
