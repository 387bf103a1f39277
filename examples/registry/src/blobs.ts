/** Blobs: read whole or in part, pushed in one request or several, mounted from another repository, deleted. */
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Descriptor, Digest } from '@tare/image-spec';
import type { ContentStore } from '@tare/image-spec/content';
import { ApiError } from './errors.ts';
import { digestOf, nameOf, parseRange, type Handler, type Request } from './http.ts';
import type { Repositories } from './repositories.ts';
import type { Upload, Uploads } from './uploads.ts';

const MEDIA_TYPE = 'application/octet-stream';

/** The handlers of `/v2/<name>/blobs/`. */
export function blobHandlers(content: ContentStore, repositories: Repositories, uploads: Uploads) {
  const get: Handler = async (request, response) => {
    const { message, signal, params } = request;
    const descriptor = find(repositories, nameOf(request), digestOf(params['digest']));
    const range = parseRange(message.headers.range, descriptor.size);
    response.setHeader('accept-ranges', 'bytes');
    response.setHeader('content-type', MEDIA_TYPE);
    response.setHeader('docker-content-digest', descriptor.digest);
    response.setHeader('content-length', range ? range.end - range.start + 1 : descriptor.size);
    if (range) response.setHeader('content-range', `bytes ${range.start}-${range.end}/${descriptor.size}`);
    response.statusCode = range ? 206 : 200;
    if (message.method === 'HEAD') {
      response.end();
      return;
    }
    const stream = await content.fetch(descriptor, { signal, offset: range?.start ?? 0 });
    await pipeline(range ? first(stream, range.end + 1 - range.start) : stream, response, { signal });
  };

  const remove: Handler = async (request, response) => {
    const name = nameOf(request);
    const { digest } = find(repositories, name, digestOf(request.params['digest']));
    await repositories.locked(digest, async () => {
      await repositories.update(name, ({ blobs }) => blobs.delete(digest));
      if (!repositories.holds(digest)) await content.delete(digest);
    });
    response.writeHead(202).end();
  };

  const begin: Handler = async (request, response) => {
    const name = nameOf(request);
    const mount = request.query.get('mount');
    if (mount !== null) {
      const digest = digestOf(mount);
      const mounted = await repositories.locked(digest, async () => {
        const from = request.query.get('from');
        // without a source, the registry looks for one
        const source =
          from === null ? repositories.findBlob(digest) : repositories.get(from)?.blobs.get(digest);
        if (source !== undefined) await repositories.update(name, ({ blobs }) => blobs.set(digest, source));
        return source !== undefined;
      });
      if (mounted) return created(response, name, digest);
      // the specification's answer to a mount that cannot be made: an upload like any other
    }
    const upload = await uploads.begin(name);
    if (request.query.get('digest') !== null) return finishUpload(request, response, upload);
    accepted(response, 202, upload);
  };

  const status: Handler = async (request, response) => {
    accepted(response, 204, uploads.get(nameOf(request), request.params['id'] ?? ''));
  };

  const append: Handler = async (request, response) => {
    const upload = uploads.get(nameOf(request), request.params['id'] ?? '');
    await uploads.exclusively(upload, async () => {
      checkStart(request, upload);
      await uploads.append(upload, request.message);
    });
    accepted(response, 202, upload);
  };

  const finish: Handler = async (request, response) => {
    await finishUpload(request, response, uploads.get(nameOf(request), request.params['id'] ?? ''));
  };

  const cancel: Handler = async (request, response) => {
    const upload = uploads.get(nameOf(request), request.params['id'] ?? '');
    await uploads.exclusively(upload, () => uploads.end(upload));
    response.writeHead(204).end();
  };

  async function finishUpload(request: Request, response: ServerResponse, upload: Upload): Promise<void> {
    const { message, signal } = request;
    const digest = digestOf(request.query.get('digest'));
    await uploads.exclusively(upload, async () => {
      checkStart(request, upload);
      const length = Number(message.headers['content-length'] ?? NaN);
      let descriptor: Descriptor;
      if (upload.size === 0 && length >= 0) {
        // all of it in one request: straight into the store
        descriptor = { mediaType: MEDIA_TYPE, digest, size: length };
        await content.push(descriptor, message, { signal });
        // a store that had it left the body unread
        await pipeline(message, drain, { signal });
      } else {
        await uploads.append(upload, message);
        descriptor = { mediaType: MEDIA_TYPE, digest, size: upload.size };
        await content.push(descriptor, uploads.read(upload), { signal });
      }
      await repositories.locked(digest, async () => {
        // a deletion may have come between
        if (!(await content.has(descriptor))) {
          throw new ApiError(
            'BLOB_UPLOAD_INVALID',
            `blob ${digest} was deleted while it was pushed: push it again`,
          );
        }
        await repositories.update(upload.repository, ({ blobs }) => blobs.set(digest, descriptor));
      });
      await uploads.end(upload);
    });
    created(response, upload.repository, digest);
  }

  return { get, remove, begin, status, append, finish, cancel };
}

function find(repositories: Repositories, name: string, digest: Digest): Descriptor {
  const descriptor = repositories.get(name)?.blobs.get(digest);
  if (descriptor === undefined) throw new ApiError('BLOB_UNKNOWN', `blob ${digest} is not in ${name}`);
  return descriptor;
}

/** Chunks must come in order. @throws {ApiError} `RANGE_INVALID` (416, with what has arrived) */
function checkStart({ message }: Request, upload: Upload): void {
  const start = /^(\d+)-\d+$/.exec(message.headers['content-range'] ?? '')?.[1];
  if (start === undefined || Number(start) === upload.size) return;
  throw new ApiError(
    'RANGE_INVALID',
    `the next byte of upload ${upload.id} is ${upload.size}, not ${start}`,
    {
      headers: uploadHeaders(upload),
    },
  );
}

function uploadHeaders({ id, repository, size }: Upload): Record<string, string> {
  return {
    location: `/v2/${repository}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    'docker-upload-uuid': id,
  };
}

function accepted(response: ServerResponse, status: number, upload: Upload): void {
  response.writeHead(status, { ...uploadHeaders(upload), 'content-length': 0 }).end();
}

function created(response: ServerResponse, name: string, digest: Digest): void {
  const headers = {
    location: `/v2/${name}/blobs/${digest}`,
    'docker-content-digest': digest,
    'content-length': 0,
  };
  response.writeHead(201, headers).end();
}

async function* first(content: AsyncIterable<Uint8Array>, length: number) {
  let left = length;
  for await (const chunk of content) {
    yield chunk.subarray(0, left);
    left -= chunk.byteLength;
    if (left <= 0) return;
  }
}

async function drain(body: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of body);
}
