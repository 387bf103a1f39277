/** The Docker Engine API over HTTP: JSON requests, streams, and connections taken over by a process's stdio. */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, RequestOptions } from 'node:http';
import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ConnectionError, DAEMON_GONE, DaemonError, messageOf } from './errors.ts';
import { parseJson, stringifyJson } from './format/json-text.ts';
import type { Endpoint } from './host.ts';

// Not imported: an ES import reads every export of node:http, one of which (WebSocket) loads 15 ms worth of undici.
const { Agent, request: httpRequest } = process.getBuiltinModule('node:http');

/** Query parameters; empty, false and undefined ones are left out, booleans are sent as `1`, arrays repeat the name. */
export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

/** What a request may carry besides method and path. */
export interface CallOptions {
  query?: Query;
  headers?: Record<string, string | string[]>;
  /** With {@link DaemonClient.hijack}: what the connection becomes. Default `tcp`: the bytes of a process. */
  upgrade?: string;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is, chunked. */
  body?: Readable;
  signal?: AbortSignal;
}

/** The newest API this client speaks. */
export const clientApiVersion = '1.51';

/**
 * A client of one daemon. The API version is agreed once, on first use: the lower of ours and the daemon's, or the one
 * `DOCKER_API_VERSION` insists on.
 */
export class DaemonClient {
  readonly endpoint: Endpoint;
  readonly #agent: InstanceType<typeof Agent>;
  readonly #headers: Record<string, string>;
  #version: Promise<string> | undefined;

  constructor(endpoint: Endpoint, options: { apiVersion?: string; headers?: Record<string, string> } = {}) {
    this.endpoint = endpoint;
    this.#agent = this.#newAgent(true);
    this.#headers = {
      Host: 'api.tare.localhost',
      'User-Agent': 'Docker-Client/tare (linux)',
      ...options.headers,
    };
    if (options.apiVersion) this.#version = Promise.resolve(options.apiVersion);
  }

  /** Closes idle connections, so that the process can end. */
  close(): void {
    this.#agent.destroy();
  }

  /** The agreed API version. */
  apiVersion(): Promise<string> {
    this.#version ??= this.#negotiate();
    return this.#version;
  }

  /** Whether the daemon offers what is still being tried out. */
  async experimental(): Promise<boolean> {
    return (await this.#ping())['docker-experimental'] === 'true';
  }

  /**
   * Asks again after a stream that would have gone on: its end may have been the daemon's.
   *
   * @throws {ConnectionError} when nobody answers any more
   */
  async stillThere(): Promise<void> {
    await this.#ping();
  }

  async #ping(): Promise<IncomingHttpHeaders> {
    const response = await this.#send('HEAD', '/_ping', {});
    response.resume();
    return response.headers;
  }

  async #negotiate(): Promise<string> {
    const offered = (await this.#ping())['api-version'];
    // A daemon that names no version is older than version negotiation itself.
    if (typeof offered !== 'string') return '1.24';
    return compareVersions(offered, clientApiVersion) < 0 ? offered : clientApiVersion;
  }

  /**
   * Sends a request and returns the response once its headers are here; the body streams.
   *
   * @throws {DaemonError} for a status of 400 or more
   * @throws {ConnectionError} when the daemon cannot be reached
   */
  async call(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const response = await this.#send(method, `/v${await this.apiVersion()}${path}`, options);
    if (response.statusCode! >= 400) throw await daemonError(response, path);
    return response;
  }

  /** As {@link call}, with the whole body as text. */
  async text(method: string, path: string, options: CallOptions = {}): Promise<string> {
    return readText(await this.call(method, path, options));
  }

  /** As {@link call}, with the body parsed as JSON; numbers beyond 2^53 come as bigint. */
  async json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    return parseJson(await this.text(method, path, options)) as T;
  }

  /**
   * Takes over the connection of a POST: afterwards it carries a process's stdio in both directions, framed as
   * {@link StdioDemultiplexer} reads it unless the process has a terminal. The caller owns the socket.
   *
   * @throws {DaemonError} when the daemon answers in HTTP instead
   */
  async hijack(path: string, options: CallOptions = {}): Promise<Socket> {
    const target = `/v${await this.apiVersion()}${path}`;
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    const request = this.#open(
      'POST',
      target,
      {
        ...options,
        headers: { ...options.headers, Connection: 'Upgrade', Upgrade: options.upgrade ?? 'tcp' },
      },
      // The connection stays with the stream, so it must not come from the pool.
      this.#newAgent(false),
    );
    request.once('error', (error) => reject(this.#connectionError(error)));
    request.once('upgrade', (_response, socket: Socket, head) => {
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.once('response', (response: IncomingMessage) => {
      if (response.statusCode! >= 400) void daemonError(response, path).then(reject, reject);
      else
        reject(
          new DaemonError(response.statusCode!, `unable to upgrade to tcp, received ${response.statusCode}`),
        );
    });
    request.end(options.json === undefined ? undefined : stringifyJson(options.json));
    return promise;
  }

  /** A connection to the daemon without HTTP on it yet, for whoever speaks it themselves. The caller owns it. */
  async dial(): Promise<Duplex> {
    const { endpoint } = this;
    if (endpoint.kind === 'ssh') return (await sshDialer(endpoint))();
    const net = process.getBuiltinModule('node:net');
    const connection =
      endpoint.kind === 'unix'
        ? net.connect({ path: endpoint.socketPath, allowHalfOpen: true })
        : endpoint.tls
          ? process
              .getBuiltinModule('node:tls')
              .connect({ ...this.#tlsOptions(endpoint), host: endpoint.hostname, port: endpoint.port })
          : net.connect({ host: endpoint.hostname, port: endpoint.port, allowHalfOpen: true });
    const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
    connection.once('connect', () => resolve(connection));
    connection.once('error', (error) => reject(this.#connectionError(error)));
    return promise;
  }

  /** Connections through ssh are processes, made by whoever asks the agent for a socket. */
  #newAgent(keepAlive: boolean): InstanceType<typeof Agent> {
    const agent = new Agent({ keepAlive });
    const { endpoint } = this;
    if (endpoint.kind === 'ssh') {
      agent.createConnection = (_options, done) => {
        void connectThrough(endpoint, done!);
        return undefined;
      };
    }
    return agent;
  }

  #tlsOptions({ hostname, tls }: Endpoint & { kind: 'tcp' }) {
    return {
      ...(tls?.ca && { ca: tls.ca }),
      ...(tls?.cert && { cert: tls.cert }),
      ...(tls?.key && { key: tls.key }),
      rejectUnauthorized: tls?.verify ?? true,
      // otherwise the Host header, which names no host, is held against the certificate; an address is sent no name
      servername: isIP(hostname) === 0 ? hostname : '',
    };
  }

  async #send(method: string, target: string, options: CallOptions): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = this.#open(method, target, options, this.#agent);
    request.once('response', resolve);
    request.once('error', (error) =>
      reject(options.signal?.aborted ? options.signal.reason : this.#connectionError(error)),
    );
    if (options.body) {
      const { body } = options;
      pipeline(body, request).catch((error: unknown) =>
        // what could not be read here is no fault of the connection
        reject(body.errored === error ? error : this.#connectionError(error)),
      );
    } else request.end(options.json === undefined ? undefined : stringifyJson(options.json));
    return promise;
  }

  #open(
    method: string,
    target: string,
    options: CallOptions,
    agent: InstanceType<typeof Agent>,
  ): ClientRequest {
    const headers: Record<string, string | string[] | number> = { ...this.#headers, ...options.headers };
    if (options.json !== undefined) {
      headers['Content-Type'] = 'application/json';
      headers['Content-Length'] = Buffer.byteLength(stringifyJson(options.json));
    } else if (!options.body && method === 'POST') headers['Content-Length'] = 0;
    const common: RequestOptions = {
      method,
      path: target + encodeQuery(options.query),
      headers,
      agent,
      signal: options.signal,
    };
    const { endpoint } = this;
    if (endpoint.kind === 'unix') return httpRequest({ ...common, socketPath: endpoint.socketPath });
    if (endpoint.kind === 'ssh') return httpRequest(common);
    const { hostname: host, port, tls } = endpoint;
    const remote = { ...common, host, port, path: `${endpoint.path}${common.path}` };
    if (!tls) return httpRequest(remote);
    // Loaded only here: most clients never meet TLS.
    const https = process.getBuiltinModule('node:https');
    const trust = this.#tlsOptions(endpoint);
    return https.request({ ...remote, ...trust, agent: new https.Agent({ keepAlive: true }) });
  }

  #connectionError(error: unknown): Error {
    const { code } = error as NodeJS.ErrnoException;
    const { url } = this.endpoint;
    if (code === 'EACCES' || code === 'EPERM') {
      return new ConnectionError(
        `permission denied while trying to connect to the Tare daemon socket at ${url}. Run as root, or as a member of the socket's group.`,
        { cause: error },
      );
    }
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return new ConnectionError(
        `Cannot connect to the Tare daemon at ${url}. Is it running? Start it as root with 'tare daemon', or name another with --host.`,
        { cause: error },
      );
    }
    if (code === 'EINVAL' && this.endpoint.kind === 'unix') {
      return new ConnectionError(
        `error during connect: ${url}: the path has ${Buffer.byteLength(this.endpoint.socketPath)} bytes, and that of a socket at most 107`,
        { cause: error },
      );
    }
    if (code === 'EAI_AGAIN' || code === 'ENOTFOUND') {
      const { hostname } = error as NodeJS.ErrnoException & { hostname?: string };
      return new ConnectionError(
        `error during connect: ${url}: the name ${hostname} is not known, or cannot be looked up now. Is --host, or the context, right?`,
        { cause: error },
      );
    }
    const gone = code === 'EPIPE' || code === 'ECONNRESET';
    return new ConnectionError(`error during connect: ${url}: ${gone ? DAEMON_GONE : messageOf(error)}`, {
      cause: error,
    });
  }
}

async function connectThrough(
  endpoint: Endpoint & { kind: 'ssh' },
  done: (error: Error | null, stream: Duplex) => void,
): Promise<void> {
  const dial = await sshDialer(endpoint);
  done(null, dial());
}

/** Loaded only for daemons behind ssh. */
async function sshDialer(endpoint: Endpoint & { kind: 'ssh' }): Promise<() => Duplex> {
  const { dialSsh } = await import('./ssh.ts');
  return () => dialSsh(endpoint);
}

/** `1.9` comes before `1.24`. */
function compareVersions(a: string, b: string): number {
  const [aMajor, aMinor] = a.split('.').map(Number) as [number, number];
  const [bMajor, bMinor] = b.split('.').map(Number) as [number, number];
  return aMajor - bMajor || aMinor - bMinor;
}

/** Sorted by name, form-encoded, as Go's clients send it. */
function encodeQuery(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const name of Object.keys(query).sort()) {
    const value = query[name];
    if (value === undefined || value === false || value === '') continue;
    if (Array.isArray(value)) for (const item of value) params.append(name, item);
    else params.append(name, value === true ? '1' : String(value));
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

/** `filters` as the API takes them: `{"status":{"exited":true}}`; undefined when there are none. */
export function encodeFilters(filters: ReadonlyMap<string, readonly string[]>): string | undefined {
  if (filters.size === 0) return undefined;
  const sorted = [...filters].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    Object.fromEntries(
      sorted.map(([key, values]) => [key, Object.fromEntries(values.map((value) => [value, true]))]),
    ),
  );
}

/** The whole of a response's body. */
export async function readText(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response) text += chunk as string;
  return text;
}

async function daemonError(response: IncomingMessage, path: string): Promise<DaemonError> {
  const status = response.statusCode!;
  const body = await readText(response);
  if (response.headers['content-type']?.startsWith('application/json')) {
    try {
      const { message } = JSON.parse(body) as { message?: string };
      if (message) return new DaemonError(status, message.trim());
    } catch {
      // Not JSON after all: the text itself is the best message there is.
      return new DaemonError(status, body.trim());
    }
  }
  const reason =
    body.trim() ||
    `request returned ${response.statusMessage ?? status} for API route and version ${path}, check if the server supports the requested API version`;
  return new DaemonError(status, reason);
}
