/** Blob uploads in one request: verified on the way out, or not at all when the registry can mount it. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { digestAlgorithm, type Descriptor } from '@tare/image-spec';
import { verifyStream } from '@tare/image-spec/content';
import { repositoryScope } from './auth/scope.ts';
import { blobPath, uploadsPath } from './endpoints.ts';
import { RegistryError } from './errors.ts';
import { discard, resolveLocation, type HttpResponse } from './http.ts';
import type { Call, RegistryHost } from './registry-host.ts';

/** Of the chunk sizes that registries ask for, more is not obeyed. */
const MAX_CHUNK_BYTES = 256 * 1024 * 1024;

/** Where a blob goes to. */
export interface Upload {
  repository: string;
  descriptor: Descriptor;
  scopes: readonly string[];
  signal?: AbortSignal | undefined;
  onRetry?: ((error: unknown, delayMs: number) => void) | undefined;
}

/** Whether the repository has the blob. */
export async function hasBlob(host: RegistryHost, upload: Upload): Promise<boolean> {
  const response = await host.call({
    ...common(upload),
    method: 'HEAD',
    path: blobPath(upload.repository, upload.descriptor.digest),
    expect: [200, 404],
  });
  await discard(response);
  return response.status === 200;
}

/** An upload that the registry has opened, or nothing to do since it mounted the blob. */
export type OpenedUpload = { mounted: true } | { mounted: false; location: URL; minChunkBytes: number };

/**
 * Opens an upload; with `from`, asks the registry to take the blob from that repository instead, which it does
 * (`mounted`) or answers with an upload all the same.
 */
export async function openUpload(host: RegistryHost, upload: Upload, from?: string): Promise<OpenedUpload> {
  const call: Call = {
    ...common(upload),
    method: 'POST',
    path: uploadsPath(upload.repository),
    body: new Uint8Array(),
    expect: [202],
  };
  const algorithm = digestAlgorithm(upload.descriptor.digest);
  // a registry that hashes while it receives must know with what
  if (algorithm !== 'sha256') call.query = { 'digest-algorithm': algorithm };
  if (from !== undefined) {
    call.query = { mount: upload.descriptor.digest, from };
    call.scopes = [...upload.scopes, repositoryScope(from, 'pull')];
    call.expect = [201, 202];
  }
  const response = await host.call(call);
  await discard(response);
  if (response.status === 201) return { mounted: true };
  const minChunkBytes = Number(response.headers['oci-chunk-min-length'] ?? 0);
  return {
    mounted: false,
    location: locationOf(response, 'POST'),
    // a registry must not make us hold the whole of a large blob
    minChunkBytes: minChunkBytes > 0 && minChunkBytes <= MAX_CHUNK_BYTES ? minChunkBytes : 0,
  };
}

/**
 * Sends all of `content` to an opened upload and closes it.
 *
 * The content is verified on the way; when it is wrong, or its source breaks, the upload is cancelled.
 *
 * @throws {ImageSpecError} `SIZE_MISMATCH`, `DIGEST_MISMATCH`
 * @throws {RegistryError}
 */
export async function sendBlob(
  host: RegistryHost,
  upload: Upload,
  location: URL,
  content: AsyncIterable<Uint8Array>,
  onProgress: (transferredBytes: number) => void,
): Promise<void> {
  const { descriptor } = upload;
  /** What the source or the check threw: undici would only say that the body failed. */
  let failure: { error: unknown } | undefined;
  async function* checked() {
    let sent = 0;
    let held: Uint8Array | undefined;
    try {
      for await (const chunk of verifyStream(descriptor, content, createHash)) {
        // the last chunk leaves only after the whole was found right: a registry must never get all of what is wrong
        if (held !== undefined) {
          yield held;
          onProgress((sent += held.byteLength));
        }
        held = chunk;
      }
    } catch (error) {
      failure = { error };
      throw error;
    }
    if (held !== undefined) {
      yield held;
      onProgress(sent + held.byteLength);
    }
  }
  try {
    const response = await host.call({
      ...common(upload),
      method: 'PUT',
      path: location,
      query: { digest: descriptor.digest },
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(descriptor.size) },
      body: Readable.from(checked(), { objectMode: false, highWaterMark: 64 * 1024 }),
      expect: [201],
    });
    await discard(response);
  } catch (error) {
    await cancelUpload(host, upload, location);
    upload.signal?.throwIfAborted();
    throw failure === undefined ? error : failure.error;
  }
}

/** Ends an upload whose bytes have all been sent. */
export async function closeUpload(host: RegistryHost, upload: Upload, location: URL): Promise<void> {
  const response = await host.call({
    ...common(upload),
    method: 'PUT',
    path: location,
    query: { digest: upload.descriptor.digest },
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(),
    expect: [201],
  });
  await discard(response);
}

/** Best effort: registries also forget uploads by themselves, and older ones cannot cancel. */
export async function cancelUpload(host: RegistryHost, upload: Upload, location: URL): Promise<void> {
  try {
    const response = await host.call({
      ...common(upload),
      method: 'DELETE',
      path: location,
      expect: [204, 202, 404, 405],
      signal: AbortSignal.timeout(5_000),
    });
    await discard(response);
  } catch (error) {
    // the caller is to hear why the upload failed, not that clearing up after it failed as well
    if (!(error instanceof RegistryError) && !(error instanceof DOMException)) throw error;
  }
}

/** Where to go on with an upload. */
export function locationOf(response: HttpResponse, method: Call['method']): URL {
  const { location } = response.headers;
  const request = { method, url: response.url };
  if (typeof location !== 'string') {
    throw new RegistryError('INVALID_RESPONSE', 'did not say where the upload goes on', {
      ...request,
      status: response.status,
    });
  }
  return resolveLocation(location, response.url, request);
}

/** What all calls of an upload share. */
export function common({ scopes, signal, onRetry }: Upload): Pick<Call, 'scopes' | 'signal' | 'onRetry'> {
  return { scopes, signal, onRetry };
}
