/** One request, as handlers see it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { z } from 'zod';
import { invalid, systemError } from '../errors.ts';
import type { Job } from '../jobs/job.ts';
import { compareVersions } from './api-version.ts';
import { readUpgradeBody, tooLarge } from './body.ts';
import { gathered } from './gathered.ts';
import { hijackSocket, type HijackedStream } from './hijack.ts';
import { decodeJson, encodeJson } from './json.ts';
import type { Query } from './query.ts';

/** No JSON body of the API comes near this. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;

/** An empty chunked body. */
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** What the server hands to the constructor. */
export interface ContextOptions {
  request: IncomingMessage;
  response: ServerResponse<IncomingMessage>;
  /** Path without version prefix, still encoded. */
  path: string;
  apiVersion: string;
  query: Query;
  params: Readonly<Record<string, string>>;
  signal: AbortSignal;
  /** The socket and what was read past the headers, when the request is an upgrade. */
  upgrade: { socket: Duplex; head: Buffer } | undefined;
  /** Headers of every reply, for the raw head of a hijacked one. */
  baseHeaders: Readonly<Record<string, string>>;
}

/** A reply whose headers are on their way already. */
export interface ReplyStream {
  /**
   * Resolves when the client's connection takes more; at once when the client is gone (see `signal`). The data must not
   * change afterwards.
   */
  write(data: string | Uint8Array): Promise<void>;
  end(): void;
}

/** Small writes are gathered up to this size: a log is many lines, and each write of its own is a system call. */
const GATHER_BYTES = 64 * 1024;

/** Gathers what is written in one turn of the event loop; nothing waits longer than that. */
class BufferedReply implements ReplyStream {
  readonly #response: ServerResponse<IncomingMessage>;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #room: Promise<void> | undefined;

  constructor(response: ServerResponse<IncomingMessage>) {
    this.#response = response;
  }

  write(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    if (this.#bytes === 0) process.nextTick(() => this.#flush());
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= GATHER_BYTES) this.#flush();
    return this.#room ?? Promise.resolve();
  }

  end(): void {
    this.#flush();
    this.#response.end();
  }

  #flush(): void {
    const response = this.#response;
    if (this.#bytes === 0) return;
    const data = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    if (response.destroyed || response.writableEnded || response.write(data) || this.#room) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const settle = (): void => {
      response.off('drain', settle);
      response.off('close', settle);
      this.#room = undefined;
      resolve();
    };
    response.on('drain', settle);
    response.on('close', settle);
    this.#room = promise;
  }
}

export class RequestContext {
  readonly request: IncomingMessage;
  readonly path: string;
  /** Version the client speaks, for example `'1.44'`; compare with {@link RequestContext.speaks}. */
  readonly apiVersion: string;
  readonly query: Query;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  /** Aborts when the client went away. */
  readonly signal: AbortSignal;
  readonly #response: ServerResponse<IncomingMessage>;
  readonly #upgrade: ContextOptions['upgrade'];
  readonly #baseHeaders: Readonly<Record<string, string>>;
  #upgradeBody: Promise<Buffer> | undefined;
  #job: Job | undefined;
  #hijacked = false;

  constructor(options: ContextOptions) {
    this.request = options.request;
    this.path = options.path;
    this.apiVersion = options.apiVersion;
    this.query = options.query;
    this.params = options.params;
    this.signal = options.signal;
    this.#response = options.response;
    this.#upgrade = options.upgrade;
    this.#baseHeaders = options.baseHeaders;
  }

  /** The Job this request runs as. @throws when the route has no `job` */
  get job(): Job {
    if (!this.#job) throw systemError(`${this.request.method} ${this.path} does not run as a job`);
    return this.#job;
  }

  /** Called by the server only. */
  attachJob(job: Job): void {
    this.#job = job;
  }

  /** Whether the client's API version is at least `version`. */
  speaks(version: string): boolean {
    return compareVersions(this.apiVersion, version) >= 0;
  }

  /** Whether the connection has become a raw stream. */
  get hijacked(): boolean {
    return this.#hijacked;
  }

  /** Whether status and headers have left: an error can then only be reported inside the stream. */
  get replied(): boolean {
    return this.#hijacked || this.#response.headersSent;
  }

  /** A path parameter. @throws when the route's path has no such parameter */
  param(name: string): string {
    const value = this.params[name];
    if (value === undefined) throw systemError(`${this.path}: no path parameter ${name}`);
    return value;
  }

  /** One request header, its repetitions joined. */
  header(name: string): string | undefined {
    const value = this.request.headers[name.toLowerCase()];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /**
   * The JSON body, validated; an empty body counts as `{}`. Keys match case-insensitively, nulls count as missing.
   *
   * @throws {EngineError} `INVALID` for a wrong content type, malformed JSON or a value the schema refuses
   */
  async body<T>(schema: z.ZodType<T>): Promise<T> {
    const bytes = await this.bodyBytes(MAX_JSON_BYTES);
    if (bytes.length > 0) {
      const type = this.header('content-type') ?? '';
      if (!/^application\/json\s*(;|$)/i.test(type)) {
        throw invalid(`unsupported Content-Type header (${type}): must be 'application/json'`);
      }
    }
    return decodeJson(bytes.toString('utf8'), schema);
  }

  /** The whole body. @throws {EngineError} `INVALID` above `limitBytes` */
  async bodyBytes(limitBytes: number): Promise<Buffer> {
    if (this.#upgrade) {
      const { socket, head } = this.#upgrade;
      this.#upgradeBody ??= readUpgradeBody(this.request, socket, head, limitBytes);
      return this.#upgradeBody;
    }
    const parts: Buffer[] = [];
    let total = 0;
    for await (const part of this.request as AsyncIterable<Buffer>) {
      total += part.length;
      if (total > limitBytes) throw tooLarge(limitBytes);
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  /** The body as it arrives: archives, build contexts. Replying before its end is fine. */
  bodyStream(): AsyncIterable<Buffer> {
    return gathered(this.request);
  }

  /** Sets a header of the reply to come. */
  setHeader(name: string, value: string): void {
    this.#response.setHeader(name, value);
  }

  /** Replies with JSON. */
  json(status: number, value: unknown): void {
    this.send(status, 'application/json', encodeJson(value));
  }

  /** Replies with a body of any kind. */
  send(status: number, contentType: string, body: string | Uint8Array): void {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    this.#response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': bytes.length });
    this.#response.end(bytes);
  }

  /** Replies without a body. */
  empty(status: number): void {
    const headers = status === 204 || status === 304 ? {} : { 'Content-Length': 0 };
    this.#response.writeHead(status, headers);
    this.#response.end();
  }

  /** Starts a reply of unknown length; status and headers leave at once. */
  stream(options: { status?: number; contentType?: string } = {}): ReplyStream {
    const response = this.#response;
    response.writeHead(options.status ?? 200, { 'Content-Type': options.contentType ?? 'application/json' });
    response.flushHeaders();
    return new BufferedReply(response);
  }

  /**
   * Turns the connection into a raw stream. Look everything up first: errors after this can only be text in the stream.
   * Read the JSON body before, when there is one; what the client sent after it is the start of the stream.
   *
   * @param options.multiplexed - output goes in frames (no TTY); announced to clients from API 1.42 on
   */
  async hijack(options: { multiplexed?: boolean } = {}): Promise<HijackedStream> {
    if (!this.#upgrade) throw systemError(`${this.path} is not declared as hijackable`);
    const { socket } = this.#upgrade;
    await this.#skipBody();
    this.#hijacked = true;
    this.#response.detachSocket(socket as Socket);
    const protocol = this.header('upgrade');
    const multiplexed = protocol !== undefined && options.multiplexed === true && this.speaks('1.42');
    const kind = multiplexed ? 'multiplexed-stream' : 'raw-stream';
    return hijackSocket(socket, this.#baseHeaders, `application/vnd.docker.${kind}`, protocol);
  }

  /**
   * Turns the connection into a WebSocket: what {@link RequestContext.hijack} is to clients that cannot take a
   * connection over. Its messages are pieces of a byte stream.
   *
   * @throws {EngineError} `INVALID` when the request asks for no WebSocket
   */
  async webSocket(): Promise<HijackedStream> {
    if (!this.#upgrade) throw systemError(`${this.path} is not declared as hijackable`);
    const { socket, head } = this.#upgrade;
    const { acceptWebSocket } = await import('./web-socket.ts');
    return acceptWebSocket(this.request, socket, head, () => {
      this.#hijacked = true;
      this.#response.detachSocket(socket as Socket);
    });
  }

  /** Cuts the connection: the last resort when a reply has begun and cannot be ended properly. */
  destroy(): void {
    if (this.#upgrade) this.#upgrade.socket.destroy();
    else this.#response.destroy();
  }

  /**
   * Takes a body that the handler did not want off the socket.
   *
   * Some clients announce chunks on a request whose body is the raw stream, and send none, or the empty last one: that
   * is all there is to skip then.
   */
  async #skipBody(): Promise<void> {
    if (this.#upgradeBody || this.header('transfer-encoding') === undefined) {
      await this.bodyBytes(MAX_JSON_BYTES);
      return;
    }
    const { socket, head } = this.#upgrade!;
    const rest = head.subarray(head.indexOf(LAST_CHUNK) === 0 ? LAST_CHUNK.length : 0);
    if (rest.length > 0) socket.unshift(rest);
  }
}
