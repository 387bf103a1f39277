/** A real server on a unix socket in a temporary directory, and raw clients for it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { listen } from '../../src/http/listen.ts';
import type { Route } from '../../src/http/route.ts';
import { HttpServer } from '../../src/http/server.ts';
import { JobQueue } from '../../src/jobs/job-queue.ts';

export interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Serves `routes` until it is disposed of. */
export async function serve(routes: Route[]) {
  const directory = await mkdtemp(join(tmpdir(), 'tare-http-'));
  const socketPath = join(directory, 's.sock');
  const jobs = new JobQueue();
  const server = new HttpServer({ routes, jobs, log: pino({ level: 'silent' }), serverVersion: '1.2.3' });
  await listen(server.createServer(), `unix://${socketPath}`, {
    group: { name: '', required: false },
    plainTcp: false,
  });

  return {
    socketPath,
    jobs,
    /** One ordinary request. */
    call(method: string, path: string, options: { body?: string; headers?: Record<string, string> } = {}) {
      return call(socketPath, method, path, options);
    },
    /** A connection to speak bytes on. */
    async open(): Promise<RawClient> {
      const socket = connect({ path: socketPath, allowHalfOpen: true });
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      });
      return new RawClient(socket);
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await jobs[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** One request over a unix socket, through node:http. */
export function call(
  socketPath: string,
  method: string,
  path: string,
  options: { body?: string | Buffer; headers?: Record<string, string> } = {},
): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const request = httpRequest({
    socketPath,
    method,
    path,
    agent: false,
    headers: {
      ...(options.body === undefined
        ? {}
        : { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(options.body)) }),
      ...options.headers,
    },
  });
  request.once('error', reject);
  request.once('response', (response) => {
    const parts: Buffer[] = [];
    response.on('data', (part: Buffer) => parts.push(part));
    response.once('error', reject);
    response.once('end', () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: Buffer.concat(parts).toString(),
      }),
    );
  });
  request.end(options.body);
  return promise;
}

/** A client that writes bytes and reads until something appears. */
export class RawClient implements Disposable {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (part: Buffer) => {
      this.#received = Buffer.concat([this.#received, part]);
      this.#wake();
    });
    const onEnd = (): void => {
      this.#ended = true;
      this.#wake();
    };
    socket.on('end', onEnd);
    socket.on('error', onEnd);
    socket.on('close', onEnd);
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  get received(): string {
    return this.#received.toString('latin1');
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves when `text` has been received; rejects when the connection ended without it. */
  async until(text: string): Promise<string> {
    while (!this.received.includes(text)) {
      if (this.#ended) throw new Error(`connection ended without ${JSON.stringify(text)}: ${this.received}`);
      await this.#change();
    }
    return this.received;
  }

  /** Everything until the server ended its side. */
  async toEnd(): Promise<string> {
    while (!this.#ended) await this.#change();
    return this.received;
  }

  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => {
      this.#waiting.delete(wake);
      resolve();
    };
    this.#waiting.add(wake);
    return promise;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
