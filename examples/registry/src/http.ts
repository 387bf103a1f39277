/** What the handlers need of HTTP: requests with their parameters, answers, ranges, pages. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isRepositoryName, parseDigest, type Digest } from '@tare/image-spec';
import { ApiError, asApiError } from './errors.ts';

/** A request with its path taken apart. */
export interface Request {
  readonly message: IncomingMessage;
  /** Parameters of the path, decoded. */
  readonly params: Readonly<Record<string, string | undefined>>;
  readonly query: URLSearchParams;
  /** Aborted when the client goes away or the server closes. */
  readonly signal: AbortSignal;
}

/** Answers one request. */
export type Handler = (request: Request, response: ServerResponse) => Promise<void>;

/** The repository's name. @throws {ApiError} `NAME_INVALID` */
export function nameOf({ params }: Request): string {
  const name = params['name'] ?? '';
  if (!isRepositoryName(name))
    throw new ApiError('NAME_INVALID', `invalid repository name ${JSON.stringify(name)}`);
  return name;
}

/** A digest of the request. @throws {ApiError} `DIGEST_INVALID` */
export function digestOf(text: string | null | undefined): Digest {
  try {
    return parseDigest(text ?? '');
  } catch (error) {
    throw asApiError(error);
  }
}

/** Answers with a JSON body, or its headers alone to HEAD. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
    ...headers,
  });
  response.end(bytes);
}

/** Answers a failure as the specification says; one that is not the client's is a 500, with the details to `onError`. */
export function sendError(
  response: ServerResponse,
  thrown: unknown,
  onError: (error: unknown) => void,
): void {
  const error = asApiError(thrown);
  if (!(error instanceof ApiError)) onError(error);
  if (response.headersSent) {
    // the status is gone; a broken connection tells the client that the body is not whole
    response.destroy();
    return;
  }
  // the client may still be sending what will not be read
  response.setHeader('connection', 'close');
  if (error instanceof ApiError) {
    sendJson(
      response,
      error.status,
      { errors: [{ code: error.code, message: error.message }] },
      error.headers,
    );
  } else {
    sendJson(response, 500, { errors: [{ code: 'UNKNOWN', message: 'the registry failed' }] });
  }
}

/**
 * The bytes a `Range` header asks for, `end` included; undefined when it asks for none, or for what is not supported
 * (several ranges, other units), where the whole is the right answer.
 *
 * @throws {ApiError} `RANGE_INVALID` when it lies outside
 * @see https://www.rfc-editor.org/rfc/rfc9110.html#name-range-requests
 */
export function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | undefined {
  const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (from === undefined || to === undefined || (from === '' && to === '')) return undefined;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (start > end) {
    throw new ApiError('RANGE_INVALID', `range ${header} lies outside of ${size} bytes`, {
      headers: { 'content-range': `bytes */${size}` },
    });
  }
  return { start, end };
}

/** One page of `names` (sorted) by the query's `n` and `last`, and the URL of the next when there is one. */
export function paginate(
  names: readonly string[],
  query: URLSearchParams,
  path: string,
): { page: readonly string[]; next: string | undefined } {
  const last = query.get('last');
  const rest = last === null ? names : names.filter((name) => name > last);
  const n = query.get('n');
  if (n === null || !/^\d+$/.test(n)) return { page: rest, next: undefined };
  const page = rest.slice(0, Number(n));
  if (page.length === rest.length || page.length === 0) return { page, next: undefined };
  return { page, next: `${path}?${new URLSearchParams({ n, last: page.at(-1)! })}` };
}
