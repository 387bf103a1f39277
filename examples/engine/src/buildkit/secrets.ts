/** Secrets and ssh agents that a build's client serves on its session. */
import { Code, ConnectError } from '@connectrpc/connect';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import type { BuildSecrets } from '../builder/request.ts';
import { Secrets } from './gen/secrets_pb.ts';
import { SSH } from './gen/ssh_pb.ts';
import type { Session } from './sessions.ts';

/** What the client of `session` gives. */
export function sessionSecrets(session: Session): BuildSecrets {
  return {
    async secret(id) {
      if (!session.serves('/moby.buildkit.secrets.v1.Secrets/GetSecret')) return undefined;
      return ifThere(async () => (await session.client(Secrets).getSecret({ id })).data);
    },
    async agent(id, directory, signal) {
      if (!session.serves('/moby.sshforward.v1.SSH/CheckAgent')) return undefined;
      const there = await ifThere(() => session.client(SSH).checkAgent({ id }));
      if (there === undefined) return undefined;
      const path = join(directory, `agent-${randomBytes(8).toString('hex')}`);
      const server = createServer((socket) => void forward(session, id, socket));
      server.listen(path);
      await once(server, 'listening');
      signal.addEventListener('abort', () => server.close(), { once: true });
      return path;
    },
  };
}

/** Bytes of one connection to the agent and back. */
async function forward(session: Session, id: string, socket: Socket): Promise<void> {
  const gone = new AbortController();
  socket.once('close', () => gone.abort());
  // the process that asked the agent sees its connection close, as with an agent that dies
  socket.on('error', () => gone.abort());
  const requests = (async function* requests() {
    for await (const data of socket as AsyncIterable<Buffer>) yield { data: Uint8Array.from(data) };
  })();
  try {
    const replies = session
      .client(SSH)
      .forwardAgent(requests, { headers: { 'buildkit.ssh.id': id }, signal: gone.signal });
    for await (const { data } of replies) {
      if (!socket.write(data)) await once(socket, 'drain', { signal: gone.signal });
    }
    socket.end();
  } catch {
    // there is nobody else to tell: the agent's user gets the end of its connection
    socket.destroy();
  }
}

async function ifThere<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    const { code } = ConnectError.from(error);
    if (code === Code.NotFound || code === Code.Unimplemented || code === Code.Unknown) return undefined;
    throw error;
  }
}
