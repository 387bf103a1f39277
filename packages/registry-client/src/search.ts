/** Looking for repositories by a word: Docker's old index protocol where it is spoken, the catalog elsewhere. */
import { z } from 'zod';
import { CATALOG_SCOPE } from './auth/scope.ts';
import { CATALOG_PATH } from './endpoints.ts';
import { RegistryError } from './errors.ts';
import { readBody } from './http.ts';
import { listPages, parseJson } from './pagination.ts';
import type { RegistryHost } from './registry-host.ts';

/** One repository that was found. */
export interface SearchResult {
  /** Without the registry: `library/alpine`, or `alpine` as Docker Hub has it. */
  name: string;
  /** Empty where the registry has none. */
  description: string;
  stars: number;
  /** Kept by the registry's owners. */
  official: boolean;
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

const answerSchema = z.object({
  results: z
    .array(
      z.object({
        name: z.string(),
        description: z.string().nullish(),
        star_count: z.number().nullish(),
        is_official: z.boolean().nullish(),
      }),
    )
    .nullish(),
});

/** What a registry without a search says of it. */
const NO_SEARCH: readonly string[] = ['NOT_FOUND', 'UNSUPPORTED', 'REFUSED', 'INVALID_RESPONSE'];

/**
 * Up to `limit` repositories for `term`.
 *
 * @see https://docs.docker.com/reference/api/registry/latest/ for the catalog; the index protocol is older than any specification
 */
export async function searchRepositories(
  host: RegistryHost,
  term: string,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<SearchResult[]> {
  try {
    return await searchIndex(host, term, limit, signal);
  } catch (error) {
    if (!(error instanceof RegistryError && NO_SEARCH.includes(error.code))) throw error;
  }
  const found: SearchResult[] = [];
  const call = { scopes: [CATALOG_SCOPE], signal };
  for await (const name of listPages(host, CATALOG_PATH, 'repositories', call, undefined)) {
    if (name.includes(term)) found.push({ name, description: '', stars: 0, official: false });
    if (found.length === limit) break;
  }
  return found;
}

async function searchIndex(
  host: RegistryHost,
  term: string,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<SearchResult[]> {
  // beside /v2/, not below it
  const url = new URL('../v1/search', await host.url('', signal));
  const request = { method: 'GET' as const, path: url, query: { q: term, n: String(limit) }, signal };
  const response = await host.call({ ...request, scopes: [], expect: [200] });
  const bytes = await readBody(response, MAX_ANSWER_BYTES, { method: 'GET', signal });
  const parsed = answerSchema.safeParse(parseJson(bytes));
  if (!parsed.success) {
    throw new RegistryError('INVALID_RESPONSE', 'answered no list of repositories', { method: 'GET', url });
  }
  return (parsed.data.results ?? []).slice(0, limit).map((result) => ({
    name: result.name,
    description: result.description ?? '',
    stars: result.star_count ?? 0,
    official: result.is_official ?? false,
  }));
}
