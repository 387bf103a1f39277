/**
 * BuildKit's API on the engine's own builder: what `docker buildx build` and `docker compose build` speak over the
 * upgraded connections of `/grpc` and `/session`.
 *
 * https://github.com/moby/buildkit: api/services/control, frontend/gateway, session.
 */
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { createServer } from 'node:http2';
import type { Duplex } from 'node:stream';

import type { BuildParts } from '../builder/in-engine/parts.ts';
import { ENGINE_VERSION } from '../version.ts';
import { Builds } from './builds.ts';
import { controlService } from './control.ts';
import { nameDetails } from './error-details.ts';
import { gatewayService } from './gateway.ts';
import { Control } from './gen/control_pb.ts';
import { LLBBridge } from './gen/gateway_pb.ts';
import { NO_COMPRESSION } from './wire/transport.ts';
import { Sessions, type SessionOffer } from './sessions.ts';

/** By its presence clients know that images and caches can be exported in every form. */
const LABELS = { 'org.mobyproject.buildkit.worker.snapshotter': 'overlayfs' };

/** Serves builds. */
export class BuildKit {
  readonly #sessions = new Sessions();
  readonly #server: ReturnType<typeof createServer>;

  constructor(parts: BuildParts) {
    const builds = new Builds(parts, this.#sessions);
    const worker = { id: 'tare', labels: LABELS, version: ENGINE_VERSION };
    const routes = (router: ConnectRouter): void => {
      router.service(Control, controlService({ parts, builds, worker }));
      router.service(LLBBridge, gatewayService({ parts, builds, worker }));
    };
    const serve = connectNodeAdapter({
      routes,
      grpc: true,
      grpcWeb: false,
      connect: false,
      acceptCompression: NO_COMPRESSION,
    });
    this.#server = createServer({}, (request, response) => {
      nameDetails(response);
      serve(request, response);
    });
  }

  /** Serves calls on a connection until it closes. */
  async serve(socket: Duplex, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once('close', resolve);
    const onAbort = (): void => void socket.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    // HTTP/2 has no use for a connection whose other side has ended: the client is gone, and so are its builds
    socket.allowHalfOpen = false;
    this.#server.emit('connection', socket);
    await promise;
    signal.removeEventListener('abort', onAbort);
  }

  /** Makes calls on a connection, until it closes. */
  serveSession(offer: SessionOffer, socket: Duplex, signal: AbortSignal): Promise<void> {
    return this.#sessions.serve(offer, socket, signal);
  }
}
