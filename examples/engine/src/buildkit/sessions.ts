/** Sessions: connections that a build's client opened, on which it is the server: of its files, secrets and credentials. */
import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Client, type Transport } from '@connectrpc/connect';
import type { Duplex } from 'node:stream';

import { transportOver } from './wire/transport.ts';

/** How long a build waits for the session it names: the client opens both at once. */
const PATIENCE_MS = 10_000;

/** What a client says of itself. */
export interface SessionOffer {
  id: string;
  sharedKey?: string | undefined;
  /** That it serves. */
  methods: readonly string[];
}

/** One client. */
export class Session {
  readonly id: string;
  /** The client's name for the place that it builds in, the same in each of its builds; empty for none. */
  readonly sharedKey: string;
  /** Aborts when the client is gone. */
  readonly closed: AbortSignal;
  readonly #methods: ReadonlySet<string>;
  readonly #transport: Transport;

  constructor({ id, sharedKey = '', methods }: SessionOffer, socket: Duplex, closed: AbortSignal) {
    this.id = id;
    this.sharedKey = sharedKey;
    this.closed = closed;
    this.#methods = new Set(methods.map((method) => method.toLowerCase()));
    const { transport, close } = transportOver(socket);
    this.#transport = transport;
    closed.addEventListener('abort', close, { once: true });
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

/** All sessions that are open. */
export class Sessions {
  readonly #open = new Map<string, Session>();
  readonly #awaited = new Map<string, PromiseWithResolvers<Session>>();

  /** A session for as long as its connection. */
  async serve(offer: SessionOffer, socket: Duplex, signal: AbortSignal): Promise<void> {
    const { id } = offer;
    const gone = new AbortController();
    const closed = Promise.withResolvers<void>();
    socket.once('close', () => closed.resolve());
    const onAbort = (): void => void socket.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    socket.allowHalfOpen = false;
    const session = new Session(offer, socket, gone.signal);
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
