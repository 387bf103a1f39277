/** Blob downloads: verified while they stream, and continued where they broke off. */
import { createHash } from 'node:crypto';
import { ImageSpecError, type Descriptor } from '@tare/image-spec';
import { Verifier, vouchFor } from '@tare/image-spec/content';
import { errors } from 'undici';
import { blobPath } from './endpoints.ts';
import { RegistryError } from './errors.ts';
import { reasonOf, type HttpResponse } from './http.ts';
import type { Tell } from './progress.ts';
import type { Call, RegistryHost } from './registry-host.ts';
import { retryDelayMs, wait, type RetryOptions } from './retry.ts';

/** One blob to be read. */
export interface Download {
  repository: string;
  descriptor: Descriptor;
  /** Bytes left out from the beginning. */
  offset: number;
  scopes: readonly string[];
  retry: RetryOptions;
  signal?: AbortSignal | undefined;
  onProgress?: ((transferredBytes: number) => void) | undefined;
  onRetry?: ((error: unknown, delayMs: number) => void) | undefined;
  /** Told when a host's bytes are wrong. True: there is another host, which a new download will ask. */
  onWrong?: ((host: RegistryHost) => boolean) | undefined;
}

/**
 * Opens a blob on `host`; rejects when it is not there.
 *
 * A connection that breaks in the middle is made anew with a Range request, as often as it takes as long as every try
 * brings at least one byte. When `host` cannot go on at all, `fallback` does from the same byte. The digest runs over
 * the whole; of a download with an offset only the size is checked.
 */
export async function openDownload(
  host: RegistryHost,
  fallback: RegistryHost | undefined,
  download: Download,
): Promise<AsyncIterable<Uint8Array>> {
  const verifier = new Verifier(download.descriptor, createHash, download.offset);
  // a range of no bytes cannot be asked for
  if (download.offset > 0 && download.offset === download.descriptor.size) return nothing();
  const response = await request(host, download, download.offset);
  const content = stream(host, fallback, download, verifier, response);
  return download.offset === 0 ? vouchFor(content, download.descriptor) : content;
}

async function* stream(
  host: RegistryHost,
  fallback: RegistryHost | undefined,
  download: Download,
  verifier: Verifier,
  first: HttpResponse,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor, signal } = download;
  let response = first;
  let failures = 0;
  /** All that gave bytes: any of them may have given the wrong ones. */
  const givers = new Set([host]);
  try {
    for (;;) {
      const before = verifier.size;
      // what a server sends again because it does not know Range
      let skip = response.status === 206 ? 0 : before;
      let cause: unknown;
      try {
        for await (const chunk of response.body as AsyncIterable<Buffer>) {
          const fresh = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.byteLength));
          skip -= chunk.byteLength - fresh.byteLength;
          if (fresh.byteLength === 0) continue;
          verifier.update(fresh);
          download.onProgress?.(verifier.size);
          yield fresh;
        }
        if (verifier.size === descriptor.size) break;
      } catch (error) {
        signal?.throwIfAborted();
        if (!isBrokenLine(error)) throw error;
        cause = error;
      }
      failures = verifier.size > before ? 0 : failures + 1;
      response = await resume(response, cause);
    }
    verifier.end();
  } catch (error) {
    if (!isWrongContent(error)) throw error;
    const { code, message } = error;
    const fetchAgain = [...givers].filter((giver) => download.onWrong?.(giver)).length > 0;
    const names = [...givers].map((giver) => giver.host).join(' and ');
    throw new ImageSpecError(code, `${message} (from ${names})`, { cause: error, fetchAgain });
  } finally {
    // after a failed check or an early return there may be more to come, which nobody wants
    abandon(response);
  }

  /** @param cause undefined when the body just ended: HTTP/2 does not always tell a broken line from that */
  async function resume(broken: HttpResponse, cause: unknown): Promise<HttpResponse> {
    const error = new RegistryError(
      'UNREACHABLE',
      `broke off after ${verifier.size} of ${descriptor.size} bytes${cause === undefined ? '' : `: ${reasonOf(cause)}`}`,
      { method: 'GET', url: broken.url, status: broken.status, cause },
    );
    try {
      const delayMs = retryDelayMs(error, failures, download.retry);
      if (delayMs === undefined) throw error;
      download.onRetry?.(error, delayMs);
      await wait(delayMs, signal);
      return await request(host, download, verifier.size);
    } catch (failure) {
      signal?.throwIfAborted();
      // then it was no broken line: there is no more
      if (fallback === undefined && cause === undefined) verifier.end();
      if (fallback === undefined) throw failure;
      host = fallback;
      givers.add(host);
      fallback = undefined;
      failures = 0;
      return request(host, download, verifier.size);
    }
  }
}

function isWrongContent(error: unknown): error is ImageSpecError {
  return (
    error instanceof ImageSpecError && (error.code === 'DIGEST_MISMATCH' || error.code === 'SIZE_MISMATCH')
  );
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

function abandon({ body }: HttpResponse): void {
  body.on('error', () => {}).destroy();
}

/** Errors that undici's bodies and sockets throw, as opposed to ours and the consumer's. */
function isBrokenLine(error: unknown): boolean {
  // the parser's own errors have a code only sometimes
  if (error instanceof errors.HTTPParserError) return true;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && /^(?:UND_ERR_|ECONNRESET$|EPIPE$|ETIMEDOUT$|HPE_)/.test(code);
}

async function request(host: RegistryHost, download: Download, offset: number): Promise<HttpResponse> {
  const { repository, descriptor, scopes, signal, onRetry } = download;
  const call: Call = {
    method: 'GET',
    path: blobPath(repository, descriptor.digest),
    scopes,
    signal,
    onRetry,
    ...(offset > 0 && { headers: { range: `bytes=${offset}-` } }),
    expect: offset > 0 ? [200, 206] : [200],
  };
  const response = await host.call(call);
  try {
    checkHeaders(response, descriptor, offset);
    return response;
  } catch (error) {
    abandon(response);
    throw error;
  }
}

function checkHeaders({ headers, status, url }: HttpResponse, descriptor: Descriptor, offset: number): void {
  const context = { method: 'GET', url, status };
  if (status === 206) {
    const [, start, end, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? [];
    if (
      Number(start) !== offset ||
      (total !== '*' && Number(total) !== descriptor.size) ||
      Number(end) < offset
    ) {
      throw new RegistryError(
        'INVALID_RESPONSE',
        `answered another range than bytes ${offset} to the end`,
        context,
      );
    }
    return;
  }
  const length = headers['content-length'];
  if (length !== undefined && Number(length) !== descriptor.size) {
    throw new ImageSpecError(
      'SIZE_MISMATCH',
      `blob ${descriptor.digest} should have ${descriptor.size} bytes, but ${url.host} has ${Number(length)}`,
    );
  }
}

/** Passes a download on and tells of its begin and end. */
export async function* tellOf(
  content: AsyncIterable<Uint8Array>,
  { descriptor, offset }: Download,
  tell: Tell,
): AsyncGenerator<Uint8Array, void, undefined> {
  tell('start', offset);
  yield* content;
  tell('done', descriptor.size);
}
