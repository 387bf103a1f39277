/**
 * A process inside of a test's network namespace that talks and listens as told, one JSON command a line on stdin and
 * one JSON answer a line on stdout. It ends with its stdin.
 */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

/** What an agent can be asked to do. */
export type AgentCommand =
  /** Listens for TCP; every connection is told the name and the client's address, and closed. */
  | { do: 'serveTcp'; port: number; name: string }
  /** Answers every datagram with the name and the client's address. */
  | { do: 'serveUdp'; port: number; name: string }
  /** Connects and reads to the end; answers undefined when nothing comes of it in time. */
  | { do: 'tcp'; host: string; port: number; timeoutMs: number }
  /** Sends one datagram from `localPort` and waits for its answer. */
  | { do: 'udp'; host: string; port: number; localPort?: number; timeoutMs: number };

/** The answer a server gave: `<name> <client address>`; undefined when there was none. */
export type AgentAnswer = { answer?: string; error?: string };

const udpClients = new Map<string, Socket>();

/** Without the prefix that IPv4 addresses have on a socket of both families. */
function plain(address: string): string {
  return address.replace(/^::ffff:/, '');
}

async function execute(command: AgentCommand): Promise<AgentAnswer> {
  switch (command.do) {
    case 'serveTcp': {
      const server = createServer((socket) => socket.end(`${command.name} ${plain(socket.remoteAddress!)}`));
      // either family, also where IPv6 is off
      await once(server.listen(command.port), 'listening');
      return {};
    }
    case 'serveUdp': {
      for (const type of ['udp4', 'udp6'] as const) {
        const socket = createSocket({ type, ipv6Only: type === 'udp6' });
        socket.on('message', (_, { address, port }) =>
          socket.send(`${command.name} ${address}`, port, address),
        );
        socket.bind(command.port);
        await once(socket, 'listening');
      }
      return {};
    }
    case 'tcp':
      return await askTcp(command.host, command.port, command.timeoutMs);
    case 'udp': {
      // one socket per local port, kept: to the kernel its datagrams are one flow
      const type = command.host.includes(':') ? 'udp6' : 'udp4';
      const key = `${type} ${command.localPort}`;
      const socket = udpClients.get(key) ?? createSocket(type);
      if (command.localPort !== undefined && !udpClients.has(key)) {
        socket.bind(command.localPort);
        await once(socket, 'listening');
        udpClients.set(key, socket);
      }
      return await askUdp(socket, command);
    }
  }
}

/** Connects from this process and returns what the server says. */
export async function askTcp(host: string, port: number, timeoutMs: number): Promise<AgentAnswer> {
  const { promise, resolve } = Promise.withResolvers<AgentAnswer>();
  const socket = connect({ host, port });
  let text = '';
  socket.setTimeout(timeoutMs, () => resolve({}));
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('end', () => resolve({ answer: text }));
  socket.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message }));
  const answer = await promise;
  socket.destroy();
  return answer;
}

/** Sends one datagram and returns its answer. */
export async function askUdp(
  socket: Socket,
  { host, port, timeoutMs }: { host: string; port: number; timeoutMs: number },
): Promise<AgentAnswer> {
  const { promise, resolve } = Promise.withResolvers<AgentAnswer>();
  const timer = setTimeout(() => resolve({}), timeoutMs);
  const heard = (message: Buffer): void => resolve({ answer: message.toString() });
  const failed = (error: NodeJS.ErrnoException): void => resolve({ error: error.code ?? error.message });
  socket.once('message', heard).once('error', failed);
  socket.send('hello', port, host);
  const answer = await promise;
  clearTimeout(timer);
  socket.off('message', heard).off('error', failed);
  return answer;
}

if (import.meta.main) {
  process.stdout.write(`${JSON.stringify({ answer: 'ready' })}\n`);
  for await (const line of createInterface(process.stdin)) {
    const answer = await execute(JSON.parse(line) as AgentCommand);
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}
