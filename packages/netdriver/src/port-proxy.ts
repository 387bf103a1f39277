/**
 * A forwarder in this process, for the few paths on which the kernel cannot translate addresses: between the families,
 * and from ::1 where bridged packets are filtered. The container sees the host's address in place of the client's, and
 * connections end with the process.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';

import type { PortReservation, SocketKernel } from './kernel.ts';

/** A datagram client that says nothing is forgotten, in milliseconds. */
const IDLE_MS = 90_000;
/** Datagram clients of one port; the one that was silent longest gives way. */
const MAX_CLIENTS = 1024;

/** What to forward. */
export interface PortProxyOptions {
  protocol: 'tcp' | 'udp';
  hostIp: string;
  /** 0 picks a free one. */
  hostPort: number;
  target: { address: string; port: number };
}

/**
 * Listens on a port of the host and forwards what arrives there, until closed.
 *
 * @throws {Error} with `code` `'EADDRINUSE'`, `'EADDRNOTAVAIL'`, `'EACCES'`
 */
export function openPortProxy(
  kernel: Pick<SocketKernel, 'openSocket'>,
  options: PortProxyOptions,
): PortReservation {
  const { protocol, hostIp: address, hostPort, target } = options;
  const { fd, port } = kernel.openSocket({ protocol, netns: OWN_NAMESPACE, address, port: hostPort });
  const close = protocol === 'tcp' ? forwardStreams(fd, target) : forwardDatagrams(fd, address, target);
  return { port, close };
}

/** This process's own network namespace. */
const OWN_NAMESPACE = -1;

function forwardStreams(fd: number, target: PortProxyOptions['target']): () => void {
  const open = new Set<Socket>();
  const track = (socket: Socket, other: Socket): void => {
    open.add(socket);
    // whatever ends one side, the other cannot go on
    socket.on('error', () => other.destroy());
    socket.on('close', () => {
      open.delete(socket);
      if (socket.errored) other.destroy();
    });
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const { address: host, port } = target;
    const upstream = connect({ host, port, allowHalfOpen: true, noDelay: true });
    track(client, upstream);
    track(upstream, client);
    client.pipe(upstream).pipe(client);
  });
  // a client that is gone before it was accepted; the next one is not
  server.on('error', () => undefined);
  server.listen({ fd });
  server.unref();
  return () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
}

function forwardDatagrams(fd: number, hostIp: string, target: PortProxyOptions['target']): () => void {
  const type = hostIp.includes(':') ? 'udp6' : 'udp4';
  const clients = new Map<string, { socket: UdpSocket; timer: NodeJS.Timeout }>();
  const server = createSocket(type);
  const forget = (key: string): void => {
    const client = clients.get(key);
    clients.delete(key);
    if (!client) return;
    clearTimeout(client.timer);
    client.socket.close();
  };
  server.on('error', () => undefined);
  server.on('message', (message, { address, port }) => {
    const key = `${address} ${port}`;
    let client = clients.get(key);
    if (!client) {
      const [oldest] = clients.keys();
      if (clients.size >= MAX_CLIENTS && oldest !== undefined) forget(oldest);
      const socket = createSocket(target.address.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (answer) => server.send(answer, port, address, () => undefined));
      socket.on('error', () => forget(key));
      client = { socket, timer: setTimeout(() => forget(key), IDLE_MS).unref() };
    } else {
      client.timer.refresh();
      clients.delete(key);
    }
    // last in the map: heard of last
    clients.set(key, client);
    client.socket.send(message, target.port, target.address, () => undefined);
  });
  server.bind({ fd });
  server.unref();
  return () => {
    server.close();
    for (const key of clients.keys()) forget(key);
  };
}
