/** Hands queries on to name servers as they came, and their answers back. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect } from 'node:net';

/** A name server to ask. */
export interface Upstream {
  /** IPv4 or IPv6 address. */
  address: string;
  /** Default 53. */
  port?: number;
  /** Whose network leads there. Default `'host'`. */
  from?: 'host' | 'sandbox';
}

/** Makes a socket to ask from, for upstreams that are reached from the sandbox. */
export type OpenClientSocket = (family: 'udp4' | 'udp6') => UdpSocket;

/** How long one server may take, in milliseconds; a resolver in a container gives up after five seconds. */
const TIMEOUT_MS = 2000;
const DNS_PORT = 53;
/** Of a TCP answer. */
const MAX_ANSWER_BYTES = 65_535;

/**
 * Asks each server in turn until one answers. Only what repeats the query's id counts as an answer, and only from where
 * it was asked.
 *
 * @returns undefined when none did
 */
export async function forwardUdp(
  query: Uint8Array,
  upstreams: readonly Upstream[],
  openInSandbox: OpenClientSocket,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  for (const upstream of upstreams) {
    const answer = await askUdp(query, upstream, openInSandbox, signal);
    if (answer) return answer;
    if (signal.aborted) return undefined;
  }
  return undefined;
}

async function askUdp(
  query: Uint8Array,
  { address, port = DNS_PORT, from = 'host' }: Upstream,
  openInSandbox: OpenClientSocket,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const family = address.includes(':') ? 'udp6' : 'udp4';
  const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
  let socket: UdpSocket;
  try {
    socket = from === 'sandbox' ? openInSandbox(family) : createSocket(family);
  } catch {
    // no such address family there
    return undefined;
  }
  const fail = (): void => resolve(undefined);
  const timer = setTimeout(fail, TIMEOUT_MS);
  signal.addEventListener('abort', fail, { once: true });
  socket.on('error', fail);
  socket.on('message', (message, { address: sender, port: senderPort }) => {
    if (senderPort !== port || !sameAddress(sender, address)) return;
    if (
      message.length >= 12 &&
      message[0] === query[0] &&
      message[1] === query[1] &&
      (message[2]! & 0x80) !== 0
    ) {
      resolve(message);
    }
  });
  try {
    socket.send(query, port, address, (error) => {
      if (error) fail();
    });
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', fail);
    socket.close();
  }
}

function sameAddress(a: string, b: string): boolean {
  return a === b || (a.includes(':') && b.includes(':') && canonical(a) === canonical(b));
}

function canonical(address: string): string {
  return URL.parse(`http://[${address.replace(/%.*$/, '')}]`)?.hostname ?? address;
}

/** {@link forwardUdp} over TCP; servers that are reached from the sandbox alone are passed by. */
export async function forwardTcp(
  query: Uint8Array,
  upstreams: readonly Upstream[],
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  for (const { address, port = DNS_PORT, from = 'host' } of upstreams) {
    if (from !== 'host') continue;
    const answer = await askTcp(query, address, port, signal);
    if (answer) return answer;
    if (signal.aborted) return undefined;
  }
  return undefined;
}

async function askTcp(
  query: Uint8Array,
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const socket = connect({ host, port });
  const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
  const fail = (): void => resolve(undefined);
  const timer = setTimeout(fail, TIMEOUT_MS);
  signal.addEventListener('abort', fail, { once: true });
  let received = Buffer.alloc(0);
  socket.on('error', fail);
  socket.on('close', fail);
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk]);
    const wanted = received.length < 2 ? undefined : received.readUInt16BE(0);
    if (wanted !== undefined && received.length >= 2 + wanted) resolve(received.subarray(2, 2 + wanted));
    else if (received.length > MAX_ANSWER_BYTES) fail();
  });
  socket.write(framed(query));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', fail);
    socket.destroy();
  }
}

/** A message as it goes over TCP: its length before it (RFC 1035, 4.2.2). */
export function framed(message: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
