/** Referrers: the manifests whose subject is another, from the API or, where a registry lacks it, from a tag. */
import {
  ImageSpecError,
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  digestAlgorithm,
  digestHex,
  digestOf,
  imageIndexSchema,
  isSchema1Type,
  parseManifestDocument,
  referralOf,
  type Descriptor,
  type Digest,
  type Referral,
} from '@tare/image-spec';
import { manifestPath, referrersPath } from './endpoints.ts';
import { RegistryError } from './errors.ts';
import { discard, readBody, type HttpResponse } from './http.ts';
import { putManifest, type ManifestCall } from './manifests.ts';
import { MAX_PAGES, nextPage, parseJson } from './pagination.ts';
import type { RegistryHost } from './registry-host.ts';

/**
 * The tag under which the referrers of `subject` are listed in a registry without the API.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
 */
export function referrersTag(subject: Digest): string {
  return `${digestAlgorithm(subject).slice(0, 32)}-${digestHex(subject).slice(0, 64)}`;
}

/** What a manifest refers to; undefined when it has no subject, or cannot be read, which the registry shall judge. */
export function referralIn(descriptor: Descriptor, bytes: Uint8Array): Referral | undefined {
  if (isSchema1Type(descriptor.mediaType)) return undefined;
  try {
    return referralOf(parseManifestDocument(bytes, descriptor));
  } catch (error) {
    if (error instanceof ImageSpecError) return undefined;
    throw error;
  }
}

/**
 * The manifests that refer to `subject`, page by page; none is no error.
 *
 * @param artifactType only these; filtered here when the registry does not
 * @throws {RegistryError} `INVALID_RESPONSE` for what is no index
 */
export async function* listReferrers(
  host: RegistryHost,
  repository: string,
  subject: Digest,
  call: ManifestCall,
  artifactType: string | undefined,
): AsyncGenerator<Descriptor, void, undefined> {
  let next: string | URL | undefined = referrersPath(repository, subject);
  let query: Record<string, string> = artifactType === undefined ? {} : { artifactType };
  for (let page = 0; next !== undefined; page++) {
    const response = await host.call({
      ...call,
      method: 'GET',
      path: next,
      query,
      headers: { accept: MEDIA_TYPES.ociIndex },
      expect: page === 0 ? [200, 404] : [200],
    });
    if (response.status === 404) {
      await discard(response);
      const listed = await readTag(host, repository, subject, call);
      yield* listed.filter((entry) => artifactType === undefined || entry.artifactType === artifactType);
      return;
    }
    const entries = await readIndex(response, call);
    yield* entries.filter((entry) => artifactType === undefined || entry.artifactType === artifactType);
    next = nextPage(response.headers.link, response.url);
    query = {};
    if (next !== undefined && page + 1 === MAX_PAGES) {
      throw new RegistryError('INVALID_RESPONSE', `gave more than ${MAX_PAGES} pages`, {
        method: 'GET',
        url: response.url,
      });
    }
  }
}

/** Whether the registry keeps lists of referrers by itself. */
export async function hasReferrersApi(
  host: RegistryHost,
  repository: string,
  subject: Digest,
  call: ManifestCall,
): Promise<boolean> {
  const path = referrersPath(repository, subject);
  const response = await host.call({ ...call, method: 'GET', path, expect: [200, 404] });
  await discard(response);
  return response.status === 200;
}

/**
 * Changes the list of `subject`'s referrers that stands in for the API. The tag is read, changed and written; another
 * client that does the same at the same moment may be overwritten, for registries offer no way around that.
 */
export async function updateReferrersTag(
  host: RegistryHost,
  repository: string,
  subject: Digest,
  change: (listed: readonly Descriptor[]) => Descriptor[] | undefined,
  call: ManifestCall,
): Promise<void> {
  const manifests = change(await readTag(host, repository, subject, call));
  if (manifests === undefined) return;
  const mediaType = MEDIA_TYPES.ociIndex;
  const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.byteLength };
  await putManifest(host, repository, referrersTag(subject), { descriptor, bytes }, call);
}

async function readTag(
  host: RegistryHost,
  repository: string,
  subject: Digest,
  call: ManifestCall,
): Promise<Descriptor[]> {
  const response = await host.call({
    ...call,
    method: 'GET',
    path: manifestPath(repository, referrersTag(subject)),
    headers: { accept: MEDIA_TYPES.ociIndex },
    expect: [200, 404],
  });
  if (response.status === 200) return readIndex(response, call);
  await discard(response);
  return [];
}

async function readIndex(response: HttpResponse, { signal }: ManifestCall): Promise<Descriptor[]> {
  const bytes = await readBody(response, MAX_DOCUMENT_BYTES, { method: 'GET', signal });
  const parsed = imageIndexSchema.safeParse(parseJson(bytes));
  if (parsed.success) return parsed.data.manifests;
  throw new RegistryError('INVALID_RESPONSE', 'answered no index of referrers', {
    method: 'GET',
    url: response.url,
    status: response.status,
  });
}
