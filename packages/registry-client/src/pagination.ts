/** Lists that registries give page by page. */
import { repositoryListSchema, tagListSchema } from '@tare/image-spec';
import { RegistryError } from './errors.ts';
import { readBody } from './http.ts';
import type { Call, RegistryHost } from './registry-host.ts';

/** Bytes of one page. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
/** A list without end would keep a caller for ever. */
export const MAX_PAGES = 10_000;

/**
 * All names of a list, in the registry's order.
 *
 * @param key of the page that holds the names
 * @throws {RegistryError} `INVALID_RESPONSE` for malformed pages, and for a next page on another host
 */
export async function* listPages(
  host: RegistryHost,
  path: string,
  key: 'tags' | 'repositories',
  call: Pick<Call, 'scopes' | 'signal'>,
  pageSize: number | undefined,
): AsyncGenerator<string, void, undefined> {
  let next: string | URL | undefined = path;
  let query: Record<string, string> = pageSize === undefined ? {} : { n: String(pageSize) };
  for (let page = 0; next !== undefined; page++) {
    const response = await host.call({ ...call, method: 'GET', path: next, query, expect: [200] });
    const { url } = response;
    const bytes = await readBody(response, MAX_PAGE_BYTES, { method: 'GET', signal: call.signal });
    const context = { method: 'GET', url, status: 200 };
    const names = namesIn(parseJson(bytes), key);
    if (names === undefined)
      throw new RegistryError('INVALID_RESPONSE', `answered no list of ${key}`, context);
    yield* names;
    next = nextPage(response.headers.link, url);
    query = {};
    if (next !== undefined && page + 1 === MAX_PAGES) {
      throw new RegistryError('INVALID_RESPONSE', `gave more than ${MAX_PAGES} pages`, context);
    }
  }
}

function namesIn(page: unknown, key: 'tags' | 'repositories'): string[] | undefined {
  return key === 'tags'
    ? tagListSchema.safeParse(page).data?.tags
    : repositoryListSchema.safeParse(page).data?.repositories;
}

/** The target of `Link: <…>; rel="next"`. @see https://www.rfc-editor.org/rfc/rfc8288 */
export function nextPage(header: string | string[] | undefined, from: URL): URL | undefined {
  for (const link of [header ?? []].flat().flatMap((line) => line.split(/,\s*(?=<)/))) {
    const [, target, params] = /^\s*<([^>]*)>(.*)$/.exec(link) ?? [];
    if (target === undefined || !/;\s*rel\s*=\s*"?next"?\s*(?:;|$)/i.test(params ?? '')) continue;
    const url = URL.parse(target, from.href);
    if (url?.origin !== from.origin) {
      throw new RegistryError('INVALID_RESPONSE', 'named a next page on another host', {
        method: 'GET',
        url: from,
      });
    }
    return url;
  }
  return undefined;
}

export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // the schema refuses undefined, and the caller says so
    return undefined;
  }
}
