/** Hands queries on to name servers as they came, and their answers back. */
import { randomInt } from 'node:crypto';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';

import { DNS_CODE, questionOf } from './message.ts';

/** A name server to ask. */
export interface Upstream {
  /** IPv4 or IPv6 address. */
  address: string;
  /** Default 53. */
  port?: number;
  /** Whose network leads there. Default `'host'`. */
  from?: 'host' | 'sandbox';
}

/** Makes sockets to ask from, in the network that leads to a server. */
export interface ClientSockets {
  /** @throws {Error} where there is no such address family */
  udp(family: 4 | 6, from: 'host' | 'sandbox'): UdpSocket;
  /** Not connected yet. @throws {Error} where there is no such address family */
  tcp(family: 4 | 6, from: 'host' | 'sandbox'): Socket;
}

/** How long one server may take, in milliseconds; a resolver in a container gives up after five seconds. */
const TIMEOUT_MS = 2000;
/** How many servers are asked: those behind them would be asked after the container has given up. */
const MAX_UPSTREAMS = 3;
const DNS_PORT = 53;
/** What another server may know better: it failed, or does not want to. */
const TRY_NEXT: readonly number[] = [DNS_CODE.SERVFAIL, DNS_CODE.NOTIMP, DNS_CODE.REFUSED];

/**
 * Asks each server in turn until one has an answer. Only what repeats the question counts as one, with an id that nobody
 * but that server was told, and only from where it was asked.
 *
 * @returns the best there was; undefined when no server said anything
 */
export async function forward(
  query: Uint8Array,
  protocol: 'udp' | 'tcp',
  upstreams: readonly Upstream[],
  sockets: ClientSockets,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  let failed: Uint8Array | undefined;
  for (const upstream of upstreams.slice(0, MAX_UPSTREAMS)) {
    const asked = Buffer.from(query);
    asked.writeUInt16BE(randomInt(0x1_0000));
    const ask = protocol === 'udp' ? askUdp : askTcp;
    const received = await ask(asked, upstream, sockets, signal);
    if (signal.aborted) return undefined;
    if (!received) continue;
    const answer = Buffer.from(received);
    answer.set(query.subarray(0, 2));
    if (!TRY_NEXT.includes(answer[3]! & 0xf)) return answer;
    failed ??= answer;
  }
  return failed;
}

async function askUdp(
  query: Uint8Array,
  { address, port = DNS_PORT, from = 'host' }: Upstream,
  sockets: ClientSockets,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  let socket: UdpSocket;
  try {
    socket = sockets.udp(address.includes(':') ? 6 : 4, from);
  } catch {
    // no such address family there
    return undefined;
  }
  const waiting = new Waiting(signal);
  socket.on('error', () => waiting.end(undefined));
  socket.on('message', (message, sender) => {
    if (sender.port !== port || !sameAddress(sender.address, address)) return;
    if (answers(message, query)) waiting.end(message);
  });
  try {
    socket.send(query, port, address, (error) => {
      if (error) waiting.end(undefined);
    });
    return await waiting.result;
  } finally {
    waiting.end(undefined);
    socket.close();
  }
}

async function askTcp(
  query: Uint8Array,
  { address: host, port = DNS_PORT, from = 'host' }: Upstream,
  sockets: ClientSockets,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  let socket: Socket;
  try {
    socket = sockets.tcp(host.includes(':') ? 6 : 4, from);
  } catch {
    return undefined;
  }
  const waiting = new Waiting(signal);
  let received = Buffer.alloc(0);
  socket.on('error', () => waiting.end(undefined));
  socket.on('close', () => waiting.end(undefined));
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const end = received.length < 2 ? Number.POSITIVE_INFINITY : 2 + received.readUInt16BE(0);
    if (received.length < end) return;
    const message = received.subarray(2, end);
    waiting.end(answers(message, query) ? message : undefined);
  });
  try {
    socket.connect({ host, port });
    socket.write(framed(query));
    return await waiting.result;
  } finally {
    waiting.end(undefined);
    socket.destroy();
  }
}

/** One answer, or none in time. */
class Waiting {
  readonly result: Promise<Uint8Array | undefined>;
  readonly end: (answer: Uint8Array | undefined) => void;

  constructor(signal: AbortSignal) {
    const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
    const giveUp = (): void => this.end(undefined);
    const timer = setTimeout(giveUp, TIMEOUT_MS);
    this.result = promise;
    this.end = (answer) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      resolve(answer);
    };
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
  }
}

/** Whether a message answers a query: a response with its id and its question, letter by letter or none at all. */
function answers(message: Uint8Array, query: Uint8Array): boolean {
  if (message.length < 12 || message[0] !== query[0] || message[1] !== query[1]) return false;
  if ((message[2]! & 0x80) === 0) return false;
  const [asked, repeated] = [questionOf(query), questionOf(message)];
  // servers leave the question out of some refusals
  return repeated === undefined ? message.length === 12 : asked === repeated;
}

function sameAddress(a: string, b: string): boolean {
  return a === b || (a.includes(':') && b.includes(':') && canonical(a) === canonical(b));
}

function canonical(address: string): string {
  return URL.parse(`http://[${address.replace(/%.*$/, '')}]`)?.hostname ?? address;
}

/** A message as it goes over TCP: its length before it (RFC 1035, 4.2.2). */
export function framed(message: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
