/** Fetching what a client named by its address. */
import { EngineError, messageOf, notFound, systemError } from './errors.ts';

/** A response whose body is to be read. */
export type Download = Response & { body: NonNullable<Response['body']> };

/**
 * Fetches `url`, redirects followed; an `Authorization` header is not taken to another origin.
 *
 * @throws {EngineError} `NOT_FOUND` for an answer that is no success, `SYSTEM` for none at all
 */
export async function download(
  url: string,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Promise<Download> {
  let response: Response;
  try {
    response = await fetch(url, { signal, headers });
  } catch (error) {
    signal.throwIfAborted();
    const { cause } = error as { cause?: unknown };
    throw systemError(`cannot fetch ${url}: ${messageOf(cause ?? error)}`, { cause: error });
  }
  if (response.ok && response.body !== null) return response as Download;
  await response.body?.cancel();
  throw notFound(`cannot fetch ${url}: it answered ${response.status} ${response.statusText}`.trimEnd());
}

/** The message of a failed download; anything else is thrown again. */
export function downloadFailure(error: unknown): string {
  if (error instanceof EngineError) return error.message;
  throw error;
}
