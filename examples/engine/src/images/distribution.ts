/** What a registry has, without pulling it: the descriptor and platforms behind a name, and searches. */
import {
  DEFAULT_REGISTRY,
  isIndexType,
  isManifestType,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  parseReference,
  referenceTarget,
  type Descriptor,
  type Platform,
} from '@tare/image-spec';
import { readBytes } from '@tare/image-spec/content';
import { invalid } from '../errors.ts';
import type { Filters } from '../filters.ts';
import { lookUpError } from './registry-errors.ts';
import type {
  FoundRepository,
  OpenRepository,
  RegistryAuth,
  RemoteSource,
  SearchRegistry,
} from './remote.ts';

/** Larger manifests and configs are refused. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** What is behind a name at its registry. */
export interface Distribution {
  descriptor: Descriptor;
  platforms: Platform[];
}

/**
 * Asks the registry what `name` is.
 *
 * @throws {EngineError} `NOT_FOUND`, `UNAUTHORIZED`, `FORBIDDEN`, `INVALID` for what is no image
 */
export async function inspectDistribution(
  open: OpenRepository,
  name: string,
  auth: RegistryAuth | undefined,
  signal: AbortSignal,
): Promise<Distribution> {
  const reference = parseReference(name);
  try {
    const repository = await open(reference, { auth });
    const descriptor = await repository.resolve(referenceTarget(reference), { signal });
    return { descriptor, platforms: await platformsOf(repository, descriptor, signal) };
  } catch (error) {
    throw lookUpError(error);
  }
}

async function platformsOf(
  repository: RemoteSource,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<Platform[]> {
  const read = async (wanted: Descriptor): Promise<Uint8Array> =>
    readBytes(await repository.fetch(wanted, { signal }), MAX_DOCUMENT_BYTES);
  if (isIndexType(descriptor.mediaType)) {
    const { manifests } = parseImageIndex(await read(descriptor), descriptor);
    return manifests.flatMap(({ platform }) => platform ?? []);
  }
  if (!isManifestType(descriptor.mediaType)) return [];
  const { config } = parseImageManifest(await read(descriptor), descriptor);
  // the config of an artifact is any document
  if (!/(image\.config|container\.image)\.v1\+json$/.test(config.mediaType)) return [];
  const { os, architecture, variant } = parseImageConfig(await read(config), config);
  return [{ os, architecture, ...(variant === undefined ? {} : { variant }) }];
}

/** Filter keys of a search. */
export const SEARCH_FILTERS = ['is-automated', 'is-official', 'stars'] as const;

/**
 * Searches the registry named at the begin of `term` (`host[:port]/word`), or Docker Hub. Names from other registries
 * come with their registry, so that they can be pulled as they are.
 *
 * @throws {EngineError} `INVALID` for a limit or filter out of range
 */
export async function searchImages(
  search: SearchRegistry,
  term: string,
  options: { limit: number; filters: Filters; auth: RegistryAuth | undefined; signal: AbortSignal },
): Promise<FoundRepository[]> {
  const { filters, limit, auth, signal } = options;
  if (limit < 1 || limit > 100) throw invalid(`limit ${limit} is outside the range of [1, 100]`);
  const official = filters.bool('is-official');
  const stars = filters.values('stars').map((text) => {
    if (!/^\d{1,9}$/.test(text)) throw invalid(`invalid filter 'stars=${text}'`);
    return Number(text);
  });
  // there are no automated builds any more
  if (filters.bool('is-automated') === true) return [];
  const { registry, word } = splitTerm(term);
  let found: FoundRepository[];
  try {
    found = await search(registry, word, { limit, auth, signal });
  } catch (error) {
    throw lookUpError(error);
  }
  return found
    .filter(
      (one) => (official === undefined || one.official === official) && stars.every((n) => one.stars >= n),
    )
    .map((one) => (registry === DEFAULT_REGISTRY ? one : { ...one, name: `${registry}/${one.name}` }));
}

/** The first part of a term is a registry when it looks like a host, as in a reference. */
function splitTerm(term: string): { registry: string; word: string } {
  if (/^https?:\/\//.test(term)) throw invalid('invalid repository name: a search term has no scheme');
  const slash = term.indexOf('/');
  const host = slash < 0 ? '' : term.slice(0, slash);
  if (!/[.:]/.test(host) && host !== 'localhost') {
    return { registry: DEFAULT_REGISTRY, word: term.replace(/^library\//, '') };
  }
  const registry = /^(index\.)?docker\.io$/.test(host) ? DEFAULT_REGISTRY : host;
  return { registry, word: term.slice(slash + 1) };
}
