/** The two connections of a build: calls to the daemon on one, the daemon's calls to us on the other. */
import type { ConnectRouter } from '@connectrpc/connect';
import { createClient, type Client } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { createServer } from 'node:http2';
import { randomBytes } from 'node:crypto';
import { Control } from '../../buildkit/gen/control_pb.ts';
import { LLBBridge } from '../../buildkit/gen/gateway_pb.ts';
import { NO_COMPRESSION, transportOver, WIDE, widen } from '../../buildkit/wire/transport.ts';
import type { DaemonClient } from '../client.ts';

/** What a build is done with. Dispose of it to close both connections. */
export interface BuildConnection extends AsyncDisposable {
  control: Client<typeof Control>;
  bridge: Client<typeof LLBBridge>;
  /** What the daemon finds us by. */
  sessionId: string;
}

/** Services that the daemon may call, with the paths of their methods. */
export interface OfferedServices {
  routes(router: ConnectRouter): void;
  /** `/moby.filesync.v1.FileSync/DiffCopy` */
  methods: readonly string[];
}

/**
 * @param sharedKey - names the place that is built in: the daemon may keep its files, and ask for what has changed only
 * @throws {DaemonError} from a daemon that has no BuildKit
 */
export async function openBuildConnection(
  client: DaemonClient,
  { routes, methods }: OfferedServices,
  sharedKey = '',
): Promise<BuildConnection> {
  await using opened = new AsyncDisposableStack();
  const sessionId = randomBytes(16).toString('hex');
  const session = await client.hijack('/session', {
    upgrade: 'h2c',
    headers: {
      'X-Docker-Expose-Session-Uuid': sessionId,
      'X-Docker-Expose-Session-Name': 'tare',
      'X-Docker-Expose-Session-Sharedkey': sharedKey,
      'X-Docker-Expose-Session-Grpc-Method': [...methods],
    },
  });
  opened.defer(() => void session.destroy());
  session.on('error', () => session.destroy());
  const server = createServer(
    WIDE,
    connectNodeAdapter({
      routes,
      grpc: true,
      grpcWeb: false,
      connect: false,
      acceptCompression: NO_COMPRESSION,
    }),
  );
  server.on('session', widen);
  session.allowHalfOpen = false;
  server.emit('connection', session);

  const socket = await client.hijack('/grpc', { upgrade: 'h2c' });
  const { transport, close } = transportOver(socket);
  opened.defer(() => {
    close();
    socket.destroy();
  });
  socket.on('error', () => socket.destroy());
  const all = opened.move();
  return {
    control: createClient(Control, transport),
    bridge: createClient(LLBBridge, transport),
    sessionId,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
