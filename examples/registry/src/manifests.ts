/** Manifests and tags. */
import {
  ACCEPTED_MANIFEST_TYPES,
  MAX_DOCUMENT_BYTES,
  MEDIA_TYPES,
  detectManifestType,
  digestAlgorithm,
  digestOf as hash,
  isDigest,
  isForeignLayerType,
  isTag,
  parseManifestDocument,
  referralOf,
  type Descriptor,
  type ManifestDocument,
} from '@tare/image-spec';
import { readBytes, type ContentStore } from '@tare/image-spec/content';
import { ApiError } from './errors.ts';
import { digestOf, nameOf, paginate, sendJson, type Handler } from './http.ts';
import type { Repositories, Repository } from './repositories.ts';

/** The handlers of `/v2/<name>/manifests/`, the lists of tags and referrers, and `/v2/_catalog`. */
export function manifestHandlers(content: ContentStore, repositories: Repositories) {
  const get: Handler = async (request, response) => {
    const name = nameOf(request);
    const descriptor = find(repositories.get(name), name, request.params['reference'] ?? '');
    checkAccept(request.message.headers.accept, descriptor);
    response.setHeader('content-type', descriptor.mediaType);
    response.setHeader('content-length', descriptor.size);
    response.setHeader('docker-content-digest', descriptor.digest);
    if (request.message.method === 'HEAD') {
      response.end();
      return;
    }
    const stream = await content.fetch(descriptor, { signal: request.signal });
    response.end(await readBytes(stream, MAX_DOCUMENT_BYTES));
  };

  const put: Handler = async (request, response) => {
    const { message, signal } = request;
    const name = nameOf(request);
    const reference = checkReference(request.params['reference'] ?? '');
    const bytes = await readBytes(message, MAX_DOCUMENT_BYTES);
    const digest = await hash(bytes, isDigest(reference) ? digestAlgorithm(reference) : 'sha256');
    if (isDigest(reference) && digest !== reference) {
      throw new ApiError('DIGEST_INVALID', `the manifest's digest is ${digest}, not ${reference}`);
    }
    const mediaType = message.headers['content-type']?.split(';')[0]!.trim() || detectManifestType(bytes);
    const descriptor: Descriptor = { mediaType, digest, size: bytes.byteLength };
    const document = checkReferences(repositories.get(name), bytes, descriptor);
    const referral = referralOf(document);
    await repositories.locked(digest, async () => {
      await content.push(descriptor, once(bytes), { signal });
      await repositories.update(name, ({ manifests, tags, referrals }) => {
        manifests.set(digest, descriptor);
        if (referral)
          referrals.set(digest, { subject: referral.subject.digest, referrer: referral.referrer });
        if (!isDigest(reference)) tags.set(reference, digest);
      });
    });
    response.writeHead(201, {
      location: `/v2/${name}/manifests/${digest}`,
      'docker-content-digest': digest,
      'content-length': 0,
      ...(referral && { 'oci-subject': referral.subject.digest }),
    });
    response.end();
  };

  const remove: Handler = async (request, response) => {
    const name = nameOf(request);
    const reference = request.params['reference'] ?? '';
    const { digest } = find(repositories.get(name), name, reference);
    await repositories.locked(digest, async () => {
      await repositories.update(name, ({ manifests, tags, referrals }) => {
        if (!isDigest(reference)) {
          tags.delete(reference);
          return;
        }
        manifests.delete(digest);
        referrals.delete(digest);
        for (const [tag, target] of tags) if (target === digest) tags.delete(tag);
      });
      if (!repositories.holds(digest)) await content.delete(digest);
    });
    response.writeHead(202).end();
  };

  const tags: Handler = async (request, response) => {
    const name = nameOf(request);
    const repository = repositories.get(name);
    if (repository === undefined) throw new ApiError('NAME_UNKNOWN', `repository ${name} is not known`);
    const { page, next } = paginate(
      [...repository.tags.keys()].sort(),
      request.query,
      `/v2/${name}/tags/list`,
    );
    sendJson(
      response,
      200,
      { name, tags: page },
      next === undefined ? {} : { link: `<${next}>; rel="next"` },
    );
  };

  const catalog: Handler = async (request, response) => {
    const { page, next } = paginate(repositories.names(), request.query, '/v2/_catalog');
    sendJson(
      response,
      200,
      { repositories: page },
      next === undefined ? {} : { link: `<${next}>; rel="next"` },
    );
  };

  const referrers: Handler = async (request, response) => {
    const name = nameOf(request);
    const { query } = request;
    const subject = digestOf(request.params['digest']);
    const artifactType = query.get('artifactType');
    const listed = [...(repositories.get(name)?.referrals.values() ?? [])]
      .filter((each) => each.subject === subject)
      .map(({ referrer }) => referrer)
      .filter((referrer) => artifactType === null || referrer.artifactType === artifactType);
    const found = new Map(listed.map((referrer) => [referrer.digest as string, referrer]));
    // the answer is a manifest, and must not be larger than clients read
    if (!query.has('n')) query.set('n', String(REFERRERS_PER_PAGE));
    const { page, next } = paginate([...found.keys()].sort(), query, `/v2/${name}/referrers/${subject}`);
    const manifests = page.map((digest) => found.get(digest)!);
    sendJson(
      response,
      200,
      { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests },
      {
        'content-type': MEDIA_TYPES.ociIndex,
        ...(artifactType !== null && { 'oci-filters-applied': 'artifactType' }),
        ...(next !== undefined && { link: `<${next}>; rel="next"` }),
      },
    );
  };

  return { get, put, remove, tags, catalog, referrers };
}

const REFERRERS_PER_PAGE = 100;

/** A client that cannot read a type is told so: an index is not turned into a manifest here. @throws {ApiError} */
function checkAccept(accept: string | undefined, { mediaType, digest }: Descriptor): void {
  if (accept === undefined || accept.trim() === '') return;
  const [type] = mediaType.split('/');
  const accepted = accept.split(',').some((range) => {
    const [wanted = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const fits = ['*/*', `${type}/*`, mediaType.toLowerCase()].includes(wanted);
    return fits && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
  if (accepted) return;
  throw new ApiError(
    'MANIFEST_UNKNOWN',
    `manifest ${digest} has the type ${mediaType}, which the Accept header does not allow`,
  );
}

function checkReference(reference: string): string {
  if (isTag(reference)) return reference;
  // what is neither is most likely a digest with a mistake
  return digestOf(reference);
}

function find(repository: Repository | undefined, name: string, reference: string): Descriptor {
  if (repository === undefined) throw new ApiError('NAME_UNKNOWN', `repository ${name} is not known`);
  checkReference(reference);
  const digest = isDigest(reference) ? reference : repository.tags.get(reference);
  const descriptor = digest === undefined ? undefined : repository.manifests.get(digest);
  if (descriptor === undefined)
    throw new ApiError('MANIFEST_UNKNOWN', `manifest ${reference} is not in ${name}`);
  return descriptor;
}

/** Everything a manifest is made of must have been pushed before it. Its subject need not. */
function checkReferences(
  repository: Repository | undefined,
  bytes: Uint8Array,
  descriptor: Descriptor,
): ManifestDocument {
  if (!ACCEPTED_MANIFEST_TYPES.includes(descriptor.mediaType)) {
    throw new ApiError('MANIFEST_INVALID', `manifests of type ${descriptor.mediaType} are not taken here`);
  }
  const document = parseManifestDocument(bytes, descriptor);
  const missing =
    document.kind === 'index'
      ? document.index.manifests.find(({ digest }) => !repository?.manifests.has(digest))
      : [document.manifest.config, ...document.manifest.layers].find(
          ({ digest, mediaType }) => !repository?.blobs.has(digest) && !isForeignLayerType(mediaType),
        );
  if (missing !== undefined) {
    throw new ApiError(
      'MANIFEST_BLOB_UNKNOWN',
      `the manifest refers to ${missing.digest}, which is not here`,
    );
  }
  return document;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
