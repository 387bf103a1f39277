/**
 * A name server inside a sandbox: its sockets are in the sandbox's namespace, everything else is in this process. One
 * for each sandbox, since who asks decides what the names mean.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { createServer, Socket, type Server } from 'node:net';

import { DnsDecodeError, NetworkError } from '../errors.ts';
import type { NetworkKernel } from '../kernel.ts';
import { nativeKernel } from '../native-kernel.ts';
import { forward, framed, type ClientSockets, type Upstream } from './forward.ts';
import { decodeQuery, DNS_CODE, DNS_TYPE, encodeAnswer, reverseAddress, type DnsQuery } from './message.ts';
import { redirectDns } from './redirect.ts';

/** What a server knows, and what it asks others. Called for every query, so that it may change at any time. */
export interface DnsZone {
  /** Addresses of a name (lower case, without a dot at the end), of either family; undefined for one that is not known here. */
  addresses(name: string): readonly string[] | undefined;
  /** The name of an address; undefined for one that is not known here. */
  nameOf(address: string): string | undefined;
  /** Servers for a name that is not known here, best first; none: it cannot be resolved. */
  upstreams(name: string): readonly Upstream[];
}

/** Options of {@link openDnsServer}. */
export interface DnsServerOptions {
  /** Path that the sandbox's network namespace is bound to. */
  sandbox: string;
  zone: DnsZone;
  /** Address in the sandbox, of its loopback network. Default `127.0.0.11`. */
  address?: string;
  /** Default: the kernel of this machine. */
  kernel?: Pick<NetworkKernel, 'openNetlink' | 'openNetworkNamespace' | 'openSocket'>;
}

/** A running server. Dispose of it before the sandbox: its sockets keep the namespace alive. */
export type DnsServer = AsyncDisposable;

/** Address of name servers of containers, as Docker has it. */
export const DNS_ADDRESS = '127.0.0.11';

/** Answers are not kept: a container may be another one in a moment. Docker's choice is longer. */
const TTL_SECONDS = 10;
/** Queries of one sandbox that are being forwarded; more are refused, so that one container cannot exhaust the host. */
const MAX_PENDING = 256;
/** TCP connections of one sandbox. */
const MAX_CONNECTIONS = 64;
/** A TCP client that says nothing is let go, in milliseconds. */
const IDLE_MS = 10_000;

/**
 * Opens a name server at port 53 of {@link DNS_ADDRESS} in a sandbox, over UDP and TCP.
 *
 * The port is led there by a rule of nf_tables, and stays free for programs of the container. A server that was opened
 * there by a process that is gone is replaced.
 *
 * @throws {NetworkError} `NOT_FOUND` when no namespace is bound to the path
 */
export async function openDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { sandbox, zone, address = DNS_ADDRESS, kernel = nativeKernel() } = options;
  let netns: number;
  try {
    netns = kernel.openNetworkNamespace(sandbox);
  } catch (cause) {
    throw new NetworkError('NOT_FOUND', `sandbox ${sandbox} is not a network namespace`, { cause });
  }
  const server = new SandboxDns(kernel, netns, zone);
  try {
    await server.listen(address);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

class SandboxDns implements AsyncDisposable {
  readonly #kernel: NonNullable<DnsServerOptions['kernel']>;
  readonly #netns: number;
  readonly #zone: DnsZone;
  readonly #closing = new AbortController();
  #udp: UdpSocket | undefined;
  #tcp: Server | undefined;
  readonly #connections = new Set<Socket>();
  #pending = 0;

  constructor(kernel: NonNullable<DnsServerOptions['kernel']>, netns: number, zone: DnsZone) {
    this.#kernel = kernel;
    this.#netns = netns;
    this.#zone = zone;
  }

  async listen(address: string): Promise<void> {
    const netns = this.#netns;
    const udp = this.#kernel.openSocket({ protocol: 'udp', netns, address, port: 0 });
    this.#udp = createSocket('udp4');
    this.#udp.on('message', (message, from) => void this.#onDatagram(message, from));
    // a client that is gone; the next one is not
    this.#udp.on('error', () => undefined);
    const bound = Promise.withResolvers<void>();
    this.#udp.bind({ fd: udp.fd }, () => bound.resolve());

    const tcp = this.#kernel.openSocket({ protocol: 'tcp', netns, address, port: 0 });
    this.#tcp = createServer((socket) => this.#onConnection(socket));
    this.#tcp.maxConnections = MAX_CONNECTIONS;
    this.#tcp.on('error', () => undefined);
    const listening = Promise.withResolvers<void>();
    this.#tcp.listen({ fd: tcp.fd }, () => listening.resolve());
    await Promise.all([bound.promise, listening.promise]);
    await redirectDns(this.#kernel, netns, address, { udp: udp.port, tcp: tcp.port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    for (const connection of this.#connections) connection.destroy();
    const { promise: udpClosed, resolve: onUdp } = Promise.withResolvers<void>();
    const { promise: tcpClosed, resolve: onTcp } = Promise.withResolvers<void>();
    if (this.#udp) this.#udp.close(() => onUdp());
    else onUdp();
    if (this.#tcp) this.#tcp.close(() => onTcp());
    else onTcp();
    await Promise.all([udpClosed, tcpClosed]);
    closeSync(this.#netns);
  }

  async #onDatagram(message: Uint8Array, { address, port }: RemoteInfo): Promise<void> {
    const answer = await this.#answer(message, 'udp');
    if (answer && !this.#closing.signal.aborted) this.#udp?.send(answer, port, address, () => undefined);
  }

  #onConnection(socket: Socket): void {
    this.#connections.add(socket);
    let received = Buffer.alloc(0);
    let turn: Promise<void> = Promise.resolve();
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const query = received.subarray(2, end);
        received = received.subarray(end);
        // in the order they came, and no faster than they are answered
        socket.pause();
        turn = turn.then(async () => {
          const answer = await this.#answer(query, 'tcp');
          if (answer) socket.write(framed(answer));
          else socket.destroy();
          socket.resume();
        });
      }
    });
  }

  /** Undefined for bytes that deserve no answer. */
  async #answer(message: Uint8Array, protocol: 'udp' | 'tcp'): Promise<Uint8Array | undefined> {
    let query: DnsQuery;
    try {
      query = decodeQuery(message);
    } catch (error) {
      if (error instanceof DnsDecodeError) return undefined;
      throw error;
    }
    const limit = protocol === 'udp' ? query.udpSizeBytes : undefined;
    if (query.opcode !== 0) return encodeAnswer(query, { code: DNS_CODE.NOTIMP }, limit);
    const own = this.#own(query);
    if (own) return encodeAnswer(query, { records: own }, limit);
    const answer = await this.#forward(query.name, message, protocol);
    return answer ?? encodeAnswer(query, { code: DNS_CODE.SERVFAIL }, limit);
  }

  /** Records for what is known here; none of another type than asked for, so that such a question goes nowhere else. */
  #own({ name, type, class: kind }: DnsQuery): Parameters<typeof encodeAnswer>[1]['records'] | undefined {
    if (kind !== 1) return undefined;
    if (type === DNS_TYPE.PTR) {
      const address = reverseAddress(name);
      const target = address === undefined ? undefined : this.#zone.nameOf(address);
      return target === undefined ? undefined : [{ type: DNS_TYPE.PTR, ttlSeconds: TTL_SECONDS, target }];
    }
    const addresses = this.#zone.addresses(name);
    if (addresses === undefined) return undefined;
    return shuffled(addresses).flatMap((address) => {
      const recordType = address.includes(':') ? DNS_TYPE.AAAA : DNS_TYPE.A;
      return recordType === type ? [{ type: recordType, ttlSeconds: TTL_SECONDS, address }] : [];
    });
  }

  async #forward(
    name: string,
    message: Uint8Array,
    protocol: 'udp' | 'tcp',
  ): Promise<Uint8Array | undefined> {
    const upstreams = this.#zone.upstreams(name);
    if (upstreams.length === 0 || this.#pending >= MAX_PENDING) return undefined;
    this.#pending += 1;
    try {
      return await forward(message, protocol, upstreams, this.#clientSockets, this.#closing.signal);
    } finally {
      this.#pending -= 1;
    }
  }

  readonly #clientSockets: ClientSockets = {
    udp: (family, from) => {
      const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
      if (from === 'sandbox') socket.bind({ fd: this.#openInSandbox('udp', family) });
      return socket;
    },
    tcp: (family, from) =>
      from === 'sandbox' ? new Socket({ fd: this.#openInSandbox('tcp', family) }) : new Socket(),
  };

  #openInSandbox(protocol: 'udp' | 'tcp', family: 4 | 6): number {
    const address = family === 4 ? '0.0.0.0' : '::';
    return this.#kernel.openSocket({ protocol, netns: this.#netns, address, port: 0, listen: false }).fd;
  }
}

/** Several addresses of a name take turns. */
function shuffled(addresses: readonly string[]): string[] {
  const result = [...addresses];
  for (let i = result.length - 1; i > 0; i -= 1) {
    const other = Math.floor(Math.random() * (i + 1));
    [result[i], result[other]] = [result[other]!, result[i]!];
  }
  return result;
}
