/** A small registry for OCI images: content in a directory, the distribution API in front of it, nothing else. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import type { ContentStore } from '@tare/image-spec/content';
import { openFileContent } from '@tare/layer-store';
import findMyWay from 'find-my-way';
import { blobHandlers } from './blobs.ts';
import { ApiError } from './errors.ts';
import { sendError, sendJson, type Handler } from './http.ts';
import { lockDirectory } from './lock.ts';
import { manifestHandlers } from './manifests.ts';
import { Repositories } from './repositories.ts';
import { Uploads } from './uploads.ts';

/** Options of {@link startRegistry}. */
export interface RegistryOptions {
  /** Directory that holds everything; made when it is not there. One process at a time may use it. */
  root: string;
  /** Address to listen on. Default 127.0.0.1: there is no authentication. */
  host?: string;
  /** Port to listen on. Default 0, any free one. */
  port?: number;
  /** Closes the registry when aborted. */
  signal?: AbortSignal;
  /** Told of failures that are not the client's, which are answered with a bare 500. Default: written to stderr. */
  onError?: (error: unknown) => void;
}

/** A registry that is listening. */
export interface RunningRegistry extends AsyncDisposable {
  /** For example `http://127.0.0.1:5000`. */
  readonly url: string;
  /** Stops listening, ends all connections and waits for requests to clean up. May be called twice. */
  close(): Promise<void>;
}

/** Starts a registry; resolves when it listens. */
export async function startRegistry(options: RegistryOptions): Promise<RunningRegistry> {
  const { host = '127.0.0.1', port = 0, signal } = options;
  signal?.throwIfAborted();
  const root = resolve(options.root);
  const lock = await lockDirectory(root);
  let lookup: Lookup;
  try {
    const content = await openFileContent(join(root, 'content'));
    const repositories = await Repositories.open(join(root, 'repositories'));
    await sweep(content, repositories);
    lookup = routes(content, repositories, await Uploads.open(join(root, 'uploads')));
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
  const onError = options.onError ?? ((error) => console.error(error));
  const closing = new AbortController();
  const running = new Set<Promise<void>>();
  const server = createServer((message, response) => {
    const done = answer(lookup, message, response, closing.signal, onError).finally(() =>
      running.delete(done),
    );
    running.add(done);
  });
  // an upload takes as long as it takes; a client that sends nothing at all is still cut off
  server.requestTimeout = 0;
  server.timeout = 120_000;
  server.listen(port, host);
  try {
    await once(server, 'listening', signal && { signal });
  } catch (error) {
    server.close();
    await lock[Symbol.asyncDispose]();
    throw error;
  }

  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= (async () => {
      signal?.removeEventListener('abort', close);
      const ended = once(server, 'close');
      server.close();
      closing.abort();
      server.closeAllConnections();
      await ended;
      await Promise.all(running);
      await lock[Symbol.asyncDispose]();
    })();
    return closed;
  };
  signal?.addEventListener('abort', close, { once: true });
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return { url: `http://${shown}:${address.port}`, close, [Symbol.asyncDispose]: close };
}

type Lookup = (
  method: string,
  path: string,
) => { handler: Handler; params: Record<string, string | undefined> } | null;

function routes(...[content, repositories, uploads]: Parameters<typeof blobHandlers>): Lookup {
  const blobs = blobHandlers(content, repositories, uploads);
  const manifests = manifestHandlers(content, repositories);
  // a name has up to 255 characters, and its slashes take three
  const router = findMyWay({ maxParamLength: 1_000 });
  const on = (methods: findMyWay.HTTPMethod[], path: string, handler: Handler) => {
    // the router keeps the handler for us; calling it is our own business
    router.on(methods, path, () => {}, { handler });
  };

  on(['GET', 'HEAD'], '/v2/', async (_, response) => sendJson(response, 200, {}));
  on(['GET'], '/v2/_catalog', manifests.catalog);
  on(['GET'], '/v2/:name/tags/list', manifests.tags);
  on(['GET'], '/v2/:name/referrers/:digest', manifests.referrers);
  on(['GET', 'HEAD'], '/v2/:name/manifests/:reference', manifests.get);
  on(['PUT'], '/v2/:name/manifests/:reference', manifests.put);
  on(['DELETE'], '/v2/:name/manifests/:reference', manifests.remove);
  on(['GET', 'HEAD'], '/v2/:name/blobs/:digest', blobs.get);
  on(['DELETE'], '/v2/:name/blobs/:digest', blobs.remove);
  on(['POST'], '/v2/:name/blobs/uploads/', blobs.begin);
  on(['GET'], '/v2/:name/blobs/uploads/:id', blobs.status);
  on(['PATCH'], '/v2/:name/blobs/uploads/:id', blobs.append);
  on(['PUT'], '/v2/:name/blobs/uploads/:id', blobs.finish);
  on(['DELETE'], '/v2/:name/blobs/uploads/:id', blobs.cancel);

  return (method, path) => {
    const found = router.find(method as findMyWay.HTTPMethod, foldName(path));
    return found && { handler: (found.store as { handler: Handler }).handler, params: found.params };
  };
}

/** Removes what a crash left between the storing of content and its record, and so belongs to no repository. */
async function sweep(content: ContentStore, repositories: Repositories): Promise<void> {
  for await (const { digest } of content.list()) {
    if (!repositories.holds(digest)) await content.delete(digest);
  }
}

/** The path with the repository's name, which has slashes of its own, made one segment: `/v2/a%2Fb/manifests/x`. */
function foldName(path: string): string {
  const [, name, rest] = /^\/v2\/(.+)(\/(?:manifests|blobs|tags|referrers)\/.*)$/.exec(path) ?? [];
  return name === undefined ? path : `/v2/${name.replaceAll('/', '%2F')}${rest}`;
}

async function answer(
  lookup: Lookup,
  message: IncomingMessage,
  response: ServerResponse,
  closing: AbortSignal,
  onError: (error: unknown) => void,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  // a connection that breaks also fails the request's stream, where it is being read
  response.on('error', () => {});
  const signal = AbortSignal.any([closing, gone.signal]);
  response.setHeader('docker-distribution-api-version', 'registry/2.0');
  try {
    const url = new URL(message.url ?? '/', 'http://registry');
    const found = lookup(message.method ?? 'GET', url.pathname === '/v2' ? '/v2/' : url.pathname);
    if (found === null) throw new ApiError('UNSUPPORTED', `${message.method} ${url.pathname} is not offered`);
    await found.handler({ message, params: found.params, query: url.searchParams, signal }, response);
  } catch (error) {
    if (signal.aborted) return;
    sendError(response, error, onError);
  }
}
