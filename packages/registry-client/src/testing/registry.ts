/** A registry inside the test's process: it keeps everything in memory, records requests, and fails on command. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer as createHttp,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { parseDigest, type Descriptor } from '@tare/image-spec';

/** One request as it arrived. */
export interface RecordedRequest {
  method: string;
  /** Path and query. */
  path: string;
  headers: IncomingHttpHeaders;
}

/** How a request that is served after all differs from the regular. */
export interface ServeOptions {
  /** Breaks the connection (with a reset) after so many bytes of the body. */
  cutAfterBytes?: number;
  /** Keeps so many bytes of a chunk that is uploaded, then breaks the connection. */
  cutUploadAfterBytes?: number;
}

/** Answers in place of the registry, or lets it answer with `serve`. */
export type Fault = (
  request: IncomingMessage,
  response: ServerResponse,
  serve: (options?: ServeOptions) => Promise<void>,
) => void | Promise<void>;

/** Options of {@link startTestRegistry}. */
export interface TestRegistryOptions {
  /** Refuses a request by returning the value of `WWW-Authenticate` (one or several headers). */
  challenge?: (request: IncomingMessage) => string | string[] | undefined;
  /** Key and certificate in PEM: then it speaks https. */
  tls?: { key: string; cert: string; ca?: string; requestCert?: boolean };
  /** Lists referrers by itself. Default false: clients must keep the fallback tag. */
  referrers?: boolean;
}

/** A registry that runs. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  /** With scheme. */
  readonly url: string;
  /** Every request so far, also the refused ones. */
  readonly requests: readonly RecordedRequest[];
  /** Blobs by digest; all repositories share them. */
  readonly blobs: Map<string, Uint8Array>;
  /** Manifests by `<repository>:<tag>` and `<repository>@<digest>`. */
  readonly manifests: Map<string, { mediaType: string; bytes: Uint8Array }>;
  /** Requests as `METHOD path`, without the version check. */
  log(): string[];
  addBlob(content: Uint8Array | string, mediaType?: string): Descriptor;
  /** Adds a document under its digest and `tag`. */
  addManifest(repository: string, tag: string, mediaType: string, document: object): Descriptor;
  /** From now on `fault` handles what matches `METHOD path`, `times` times (default 1). Faults apply in order. */
  intercept(pattern: RegExp, fault: Fault, times?: number): void;
}

/** A {@link Fault} that answers with a fixed response. */
export function answer(
  status: number,
  headers: Record<string, string> = {},
  body: string | Uint8Array = '',
): Fault {
  return (request, response) => {
    request.resume();
    response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
  };
}

/** Starts a registry on a free loopback port. */
export async function startTestRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const registry = new InMemoryRegistry(options);
  await registry.listen();
  return registry;
}

class InMemoryRegistry implements TestRegistry {
  readonly requests: RecordedRequest[] = [];
  readonly blobs = new Map<string, Uint8Array>();
  readonly manifests = new Map<string, { mediaType: string; bytes: Uint8Array }>();
  readonly #options: TestRegistryOptions;
  readonly #server;
  readonly #faults: { pattern: RegExp; fault: Fault; left: number }[] = [];
  #uploads = 0;
  /** By number, the bytes that uploads in chunks have so far. */
  readonly #chunks = new Map<string, Buffer>();

  constructor(options: TestRegistryOptions) {
    this.#options = options;
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      this.#handle(request, response).catch(() => response.destroy());
    };
    this.#server = options.tls ? createHttps(options.tls, listener) : createHttp(listener);
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://${this.host}`;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  log(): string[] {
    return this.requests.map(({ method, path }) => `${method} ${path}`).filter((line) => line !== 'GET /v2/');
  }

  addBlob(content: Uint8Array | string, mediaType = 'application/octet-stream'): Descriptor {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.byteLength };
  }

  addManifest(repository: string, tag: string, mediaType: string, document: object): Descriptor {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    this.manifests.set(`${repository}:${tag}`, { mediaType, bytes });
    this.manifests.set(`${repository}@${digest}`, { mediaType, bytes });
    return { mediaType, digest, size: bytes.byteLength };
  }

  intercept(pattern: RegExp, fault: Fault, times = 1): void {
    this.#faults.push({ pattern, fault, left: times });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url: path = '/', headers } = request;
    this.requests.push({ method, path, headers });
    const challenge = this.#options.challenge?.(request);
    if (challenge !== undefined) {
      request.resume();
      response.setHeader('www-authenticate', challenge);
      refuse(response, 401, 'UNAUTHORIZED', 'authentication required');
      return;
    }
    const fault = this.#faults.find(({ pattern, left }) => left > 0 && pattern.test(`${method} ${path}`));
    if (fault === undefined) return this.#serve(request, response);
    fault.left -= 1;
    await fault.fault(request, response, (options) => this.#serve(request, response, options));
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    options: ServeOptions = {},
  ): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    if (pathname === '/v2/') return send(request, response, { bytes: Buffer.from('{}') }, options);
    if (pathname === '/v2/_catalog')
      return this.#list(response, 'repositories', this.#repositories(), searchParams);
    const [, repository = '', kind, rest = ''] =
      /^\/v2\/(.+)\/(blobs|manifests|tags|referrers)\/(.*)$/.exec(pathname) ?? [];
    if (kind === 'referrers') return this.#serveReferrers(response, repository, rest);
    if (kind === 'tags') return this.#list(response, 'tags', this.#tags(repository), searchParams);
    if (kind === 'manifests') return this.#serveManifest(request, response, repository, rest, options);
    if (rest.startsWith('uploads/'))
      return this.#serveUpload(request, response, repository, searchParams, options);
    const bytes = this.blobs.get(rest);
    if (bytes === undefined) return refuse(response, 404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    if (request.method === 'DELETE') {
      this.blobs.delete(rest);
      response.writeHead(202).end();
      return;
    }
    send(request, response, { bytes, digest: rest }, options);
  }

  async #serveManifest(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    reference: string,
    options: ServeOptions,
  ): Promise<void> {
    const key = `${repository}${reference.includes(':') ? '@' : ':'}${reference}`;
    if (request.method === 'PUT') {
      const bytes = await bodyOf(request);
      const manifest = { mediaType: request.headers['content-type'] ?? '', bytes };
      this.manifests.set(key, manifest);
      this.manifests.set(`${repository}@${digestOf(bytes)}`, manifest);
      const subject = this.#options.referrers ? subjectOf(bytes) : undefined;
      response.writeHead(201, {
        'docker-content-digest': digestOf(bytes),
        ...(subject && { 'oci-subject': subject }),
      });
      response.end();
      return;
    }
    const manifest = this.manifests.get(key);
    if (manifest === undefined) return refuse(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    if (request.method === 'DELETE') {
      this.manifests.delete(key);
      response.writeHead(202).end();
      return;
    }
    send(request, response, { ...manifest, digest: digestOf(manifest.bytes) }, options);
  }

  async #serveUpload(
    request: IncomingMessage,
    response: ServerResponse,
    repository: string,
    query: URLSearchParams,
    { cutUploadAfterBytes }: ServeOptions,
  ): Promise<void> {
    if (request.method === 'POST') {
      request.resume();
      const mounted = this.blobs.has(query.get('mount') ?? '');
      this.#uploads += 1;
      const location = `/v2/${repository}/blobs/uploads/${this.#uploads}?state=opaque`;
      response.writeHead(mounted ? 201 : 202, { location }).end();
      return;
    }
    if (request.method === 'DELETE') {
      response.writeHead(204).end();
      return;
    }
    const id = /uploads\/(\d+)/.exec(request.url ?? '')?.[1] ?? '';
    const location = `/v2/${repository}/blobs/uploads/${id}?state=opaque`;
    const before = this.#chunks.get(id) ?? Buffer.alloc(0);
    if (request.method === 'GET') {
      response.writeHead(204, { location, range: `0-${Math.max(0, before.byteLength - 1)}` }).end();
      return;
    }
    const body = await bodyOf(request);
    if (request.method === 'PATCH') {
      const range = request.headers['content-range'];
      if (range !== `${before.byteLength}-${before.byteLength + body.byteLength - 1}`)
        return refuse(response, 416, 'BLOB_UPLOAD_INVALID', 'out of order');
      const all = Buffer.concat([before, body.subarray(0, cutUploadAfterBytes)]);
      this.#chunks.set(id, all);
      if (cutUploadAfterBytes !== undefined) response.socket?.resetAndDestroy();
      else response.writeHead(202, { location, range: `0-${all.byteLength - 1}` }).end();
      return;
    }
    const bytes = Buffer.concat([before, body]);
    const digest = digestOf(bytes);
    if (query.get('digest') !== digest)
      return refuse(response, 400, 'DIGEST_INVALID', 'digest did not match');
    this.blobs.set(digest, bytes);
    response.writeHead(201, { 'docker-content-digest': digest }).end();
  }

  #serveReferrers(response: ServerResponse, repository: string, subject: string): void {
    if (!this.#options.referrers) return refuse(response, 404, 'NOT_FOUND', 'no such end-point');
    const manifests = Array.from(this.manifests)
      .filter(([key, { bytes }]) => key.startsWith(`${repository}@`) && subjectOf(bytes) === subject)
      .map(([, { mediaType, bytes }]) => {
        const { artifactType } = JSON.parse(Buffer.from(bytes).toString()) as { artifactType?: string };
        return { mediaType, digest: digestOf(bytes), size: bytes.byteLength, artifactType };
      });
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    response.setHeader('content-type', mediaType);
    response.end(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  }

  #repositories(): string[] {
    return [...new Set(Array.from(this.manifests.keys(), (key) => key.split(/[@:]/)[0]!))].sort();
  }

  #tags(repository: string): string[] {
    const prefix = `${repository}:`;
    return Array.from(this.manifests.keys())
      .filter((key) => key.startsWith(prefix) && !key.includes('@'))
      .map((key) => key.slice(prefix.length))
      .sort();
  }

  #list(response: ServerResponse, key: string, names: string[], query: URLSearchParams): void {
    const last = query.get('last') ?? '';
    const rest = names.filter((name) => name > last);
    const page = rest.slice(0, Number(query.get('n') ?? rest.length));
    if (page.length < rest.length)
      response.setHeader('link', `<?n=${page.length}&last=${page.at(-1)}>; rel="next"`);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ [key]: page }));
  }
}

function subjectOf(bytes: Uint8Array): string | undefined {
  return (JSON.parse(Buffer.from(bytes).toString()) as { subject?: Descriptor }).subject?.digest;
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  content: { bytes: Uint8Array; mediaType?: string; digest?: string },
  { cutAfterBytes }: ServeOptions,
): void {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const bytes = content.bytes.subarray(start);
  if (start > 0) {
    const end = content.bytes.byteLength - 1;
    response.statusCode = 206;
    response.setHeader('content-range', `bytes ${start}-${end}/${content.bytes.byteLength}`);
  }
  response.setHeader('content-type', content.mediaType ?? 'application/octet-stream');
  response.setHeader('content-length', bytes.byteLength);
  if (content.digest !== undefined) response.setHeader('docker-content-digest', content.digest);
  if (request.method === 'HEAD') response.end();
  else if (cutAfterBytes === undefined) response.end(bytes);
  else response.write(bytes.subarray(0, cutAfterBytes), () => response.socket?.resetAndDestroy());
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ errors: [{ code, message }] }));
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));
}

function digestOf(bytes: Uint8Array) {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}
