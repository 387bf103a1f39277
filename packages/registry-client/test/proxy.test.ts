import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { startTestRegistry } from '../src/testing/index.ts';
import { addImage, quickClient } from './support.ts';

afterEach(() => vi.unstubAllEnvs());

/** A proxy that tunnels; `targets` are the hosts that were asked for. */
async function startProxy() {
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on('connect', (request, client: Socket) => {
    const [host, port] = request.url!.split(':');
    targets.push(request.url!);
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
  });
  server.on('request', (request, response) => {
    // what a proxy gets in the clear has the whole URL
    const url = new URL(request.url!);
    targets.push(url.host);
    void fetch(url, { method: request.method!, headers: { accept: request.headers.accept ?? '*/*' } }).then(
      async (answer) => {
        const headers = Object.fromEntries(answer.headers);
        response.writeHead(answer.status, headers).end(Buffer.from(await answer.arrayBuffer()));
      },
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    targets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test('a registry is reached through the proxy, and past it where NO_PROXY says so', async () => {
  await using registry = await startTestRegistry();
  await using proxy = await startProxy();
  const { manifest } = addImage(registry, 'app', 'v1');
  await using client = quickClient({ proxy: proxy.url });
  expect(await client.repository(`${registry.host}/app`).resolve('v1')).toEqual(manifest);
  expect(new Set(proxy.targets)).toEqual(new Set([registry.host]));

  proxy.targets.length = 0;
  for (const name of ['http_proxy', 'HTTP_PROXY']) vi.stubEnv(name, proxy.url);
  for (const name of ['no_proxy', 'NO_PROXY']) vi.stubEnv(name, '');
  await using fromEnvironment = quickClient({ proxy: 'environment' });
  await fromEnvironment.repository(`${registry.host}/app`).resolve('v1');
  expect(new Set(proxy.targets)).toEqual(new Set([registry.host]));

  proxy.targets.length = 0;
  for (const name of ['no_proxy', 'NO_PROXY']) vi.stubEnv(name, '127.0.0.1');
  await using past = quickClient({ proxy: 'environment' });
  await past.repository(`${registry.host}/app`).resolve('v1');
  expect(proxy.targets).toEqual([]);
});

test('without the option the environment has no say', async () => {
  await using registry = await startTestRegistry();
  addImage(registry, 'app', 'v1');
  for (const name of ['http_proxy', 'HTTP_PROXY']) vi.stubEnv(name, 'http://127.0.0.1:1');
  await using client = quickClient();
  await client.repository(`${registry.host}/app`).resolve('v1');
});
