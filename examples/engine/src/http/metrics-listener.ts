/** Metrics on an address of their own, where scrapers may come and the API is not. */
import { createServer } from 'node:http';
import { isIP } from 'node:net';

import { invalid, systemError } from '../errors.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** Serves `/metrics` alone. @param address - `address:port` @throws {EngineError} `INVALID`, `SYSTEM` when it is taken */
export async function listenForMetrics(
  metrics: Metrics,
  address: string,
): Promise<AsyncDisposable & { address: string }> {
  const at = address.lastIndexOf(':');
  const host = address.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) === 0 && host !== 'localhost')
    throw invalid(`invalid metrics-addr ${address}: ${host} is no address`);
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    void metrics.render().then(({ contentType, text }) => {
      response.writeHead(200, { 'Content-Type': contentType }).end(text);
    });
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (error) =>
    reject(systemError(`cannot serve metrics on ${address}: ${error.message}`, { cause: error })),
  );
  server.listen({ host, port: Number(address.slice(at + 1)) }, resolve);
  await promise;
  const bound = server.address();
  return {
    address: typeof bound === 'object' && bound ? `${host}:${bound.port}` : address,
    async [Symbol.asyncDispose]() {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
}
