/** One HTTP exchange: redirects by our rules, bounded bodies, and failures as typed errors. */
import type { IncomingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { ImageSpecError } from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import type { Dispatcher } from 'undici';
import { RegistryError, codeOfStatus, type RegistryErrorDetail } from './errors.ts';
import { isInternal } from './host-policy.ts';
import { redactUrl } from './redact.ts';

/** A request to one URL. */
export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: URL;
  headers?: Readonly<Record<string, string>>;
  /** Sent to `url`'s origin, and to no other that redirects lead to. */
  authorization?: string | undefined;
  body?: Uint8Array | Readable | undefined;
  signal?: AbortSignal | undefined;
}

/** An answer whose body must be read, dumped or destroyed. */
export interface HttpResponse {
  status: number;
  headers: IncomingHttpHeaders;
  /** Where the answer came from, after redirects. */
  url: URL;
  body: Dispatcher.ResponseData['body'];
}

/** Chooses the undici dispatcher for a URL. */
export type Dispatch = (url: URL) => Dispatcher;

/** Registries redirect once, to storage; a few more are tolerated. */
const MAX_REDIRECTS = 5;
/** No answer for this long, or no byte of a body: the connection is dead. */
const IDLE_TIMEOUT_MS = 60_000;
/** Of an error's body, more is not read. */
const MAX_ERROR_BYTES = 64 * 1024;
const USER_AGENT = 'tare-registry-client';

/**
 * Sends `request` and follows redirects of GET and HEAD.
 *
 * `Authorization` goes to the first origin only. A redirect from https to http, or from a public host to an internal
 * address, is refused.
 *
 * @throws {RegistryError} `UNREACHABLE`, `INSECURE`, `INVALID_RESPONSE`; any status is an answer, not an error
 */
export async function exchange(dispatch: Dispatch, request: HttpRequest): Promise<HttpResponse> {
  let url = request.url;
  for (let redirects = 0; ; redirects++) {
    const response = await send(dispatch, request, url);
    const followed = request.method === 'GET' || request.method === 'HEAD';
    if (!followed || ![301, 302, 303, 307, 308].includes(response.status)) return response;
    await discard(response);
    const location = response.headers.location;
    if (redirects === MAX_REDIRECTS || location === undefined) {
      throw new RegistryError(
        'INVALID_RESPONSE',
        location === undefined
          ? 'redirected without a location'
          : `redirected more than ${MAX_REDIRECTS} times`,
        { method: request.method, url, status: response.status },
      );
    }
    url = resolveLocation(location, url, request);
  }
}

/**
 * The URL that a `Location` header leads to.
 *
 * @throws {RegistryError} `INSECURE` when it leaves https, or a public host for an internal address;
 *   `INVALID_RESPONSE` when it is no http URL
 */
export function resolveLocation(
  location: string,
  from: URL,
  request: Pick<HttpRequest, 'method' | 'url'>,
): URL {
  const target = URL.parse(location, from.href);
  const context = { method: request.method, url: request.url };
  if (target === null || (target.protocol !== 'https:' && target.protocol !== 'http:')) {
    throw new RegistryError(
      'INVALID_RESPONSE',
      'was given a location that is not an http or https URL',
      context,
    );
  }
  if (from.protocol === 'https:' && target.protocol === 'http:') {
    throw new RegistryError(
      'INSECURE',
      `refused to leave https for ${redactUrl(target)}; when the registry is behind a proxy, it must be told its own address`,
      context,
    );
  }
  if (isInternal(target.host) && !isInternal(from.host) && target.hostname !== request.url.hostname) {
    throw new RegistryError(
      'INSECURE',
      `refused to go to the internal address ${redactUrl(target)}`,
      context,
    );
  }
  target.username = '';
  target.password = '';
  return target;
}

async function send(dispatch: Dispatch, request: HttpRequest, url: URL): Promise<HttpResponse> {
  const { signal, method } = request;
  signal?.throwIfAborted();
  const headers: Record<string, string> = { 'user-agent': USER_AGENT, ...request.headers };
  if (request.authorization !== undefined && url.origin === request.url.origin) {
    headers['authorization'] = request.authorization;
  }
  try {
    const response = await dispatch(url).request({
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      headers,
      body: request.body ?? null,
      signal: signal ?? null,
      headersTimeout: IDLE_TIMEOUT_MS,
      bodyTimeout: IDLE_TIMEOUT_MS,
    });
    return { status: response.statusCode, headers: response.headers, url, body: response.body };
  } catch (cause) {
    signal?.throwIfAborted();
    throw new RegistryError('UNREACHABLE', `no answer: ${reasonOf(cause)}`, { method, url, cause });
  }
}

/** The innermost explanation of a network error; undici and dual-stack connects wrap it. */
export function reasonOf(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 4; depth++) {
    if (inner instanceof AggregateError && inner.errors.length > 0) inner = inner.errors[0];
    else if (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
    else break;
  }
  return inner instanceof Error
    ? inner.message || (inner as NodeJS.ErrnoException).code || inner.name
    : String(inner);
}

/** Throws the body away, reading on only when that is cheaper than a new connection. */
export async function discard(response: HttpResponse): Promise<void> {
  try {
    await response.body.dump({ limit: MAX_ERROR_BYTES });
  } catch {
    // the connection broke while its remains were cleared: nothing is lost
  }
}

/**
 * Reads a whole body.
 *
 * @throws {ImageSpecError} `TOO_LARGE`
 * @throws {RegistryError} `UNREACHABLE` when the connection breaks
 */
export async function readBody(
  response: HttpResponse,
  limitBytes: number,
  request: Pick<HttpRequest, 'method' | 'signal'>,
): Promise<Uint8Array> {
  try {
    return await readBytes(response.body, limitBytes);
  } catch (cause) {
    response.body.destroy();
    request.signal?.throwIfAborted();
    if (cause instanceof ImageSpecError) {
      throw new ImageSpecError('TOO_LARGE', `answer of ${redactUrl(response.url)}: ${cause.message}`, {
        cause,
      });
    }
    throw new RegistryError('UNREACHABLE', `the answer broke off: ${reasonOf(cause)}`, {
      method: request.method,
      url: response.url,
      status: response.status,
      cause,
    });
  }
}

/**
 * The error that an answer with a failing status stands for. Reads (a bounded part of) its body.
 *
 * @param secrets removed from what the server says, should it echo them
 */
export async function errorOf(
  response: HttpResponse,
  request: Pick<HttpRequest, 'method' | 'signal'>,
  secrets: readonly string[] = [],
): Promise<RegistryError> {
  const { status, url } = response;
  const text = await readBody(response, MAX_ERROR_BYTES, request).then(
    (bytes) => new TextDecoder().decode(bytes),
    () => '',
  );
  request.signal?.throwIfAborted();
  const errors = parseErrors(text);
  const said = errors.map(({ code, message }) => (message ? `${message} (${code})` : code)).join('; ');
  return new RegistryError(codeOfStatus(status), said ? `${status}: ${said}` : `answered ${status}`, {
    method: request.method,
    url,
    status,
    errors,
    retryAfterMs: retryAfterMs(response.headers['retry-after']),
    secrets,
  });
}

function parseErrors(text: string): RegistryErrorDetail[] {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // proxies and storage answer in HTML or plain text, which tells a person nothing that the status does not
    return [];
  }
  if (typeof body !== 'object' || body === null) return [];
  const { errors, error, error_description: description } = body as Record<string, unknown>;
  const list = Array.isArray(errors)
    ? errors
    : // token servers answer as RFC 6749 says
      typeof error === 'string'
      ? [{ code: error, message: description }]
      : [];
  return list
    .slice(0, 8)
    .filter((item): item is Record<string, unknown> => typeof item === 'object' && item !== null)
    .map(({ code, message }) => ({
      code: typeof code === 'string' ? code.slice(0, 100) : 'UNKNOWN',
      message: typeof message === 'string' ? message.slice(0, 500) : '',
    }));
}

/** A `Retry-After` header, in seconds or as a date, in milliseconds from now. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
