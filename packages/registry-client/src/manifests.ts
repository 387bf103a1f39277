/** Manifests of one repository on one host. */
import { createHash } from 'node:crypto';
import {
  ACCEPTED_MANIFEST_TYPES,
  ImageSpecError,
  MAX_DOCUMENT_BYTES,
  isDigest,
  parseDigest,
  type Descriptor,
  type Digest,
} from '@tare/image-spec';
import { Verifier } from '@tare/image-spec/content';
import { manifestPath } from './endpoints.ts';
import { RegistryError } from './errors.ts';
import { discard, readBody, type HttpResponse } from './http.ts';
import type { Call, RegistryHost } from './registry-host.ts';

const ACCEPT = [...ACCEPTED_MANIFEST_TYPES, '*/*;q=0.1'].join(', ');

/** What all calls on manifests share. */
export type ManifestCall = Pick<Call, 'scopes' | 'signal' | 'onRetry'>;

/** A manifest with its bytes, when they had to be read to know its descriptor. */
export interface ResolvedManifest {
  descriptor: Descriptor;
  bytes?: Uint8Array;
}

/**
 * Finds the descriptor of a tag or digest: by HEAD, which registries do not count against pull limits, and by GET
 * where HEAD says too little (some registries leave the digest out) or fails (its answer cannot say why).
 *
 * @throws {RegistryError} `NOT_FOUND`, …
 * @throws {ImageSpecError} `DIGEST_MISMATCH` when a digest was asked for and another given; `TOO_LARGE`
 */
export async function resolveManifest(
  host: RegistryHost,
  repository: string,
  reference: string,
  call: ManifestCall,
): Promise<ResolvedManifest> {
  const request = { ...call, path: manifestPath(repository, reference), headers: { accept: ACCEPT } };
  try {
    const response = await host.call({ ...request, method: 'HEAD', expect: [200] });
    await discard(response);
    const descriptor = describe(response, reference);
    if (descriptor !== undefined) return { descriptor };
  } catch (error) {
    // an answer to GET has a body that tells an unknown tag from an unknown repository; other failures would repeat
    if (!(error instanceof RegistryError) || !isWorthGet(error)) throw error;
  }
  const response = await host.call({ ...request, method: 'GET', expect: [200] });
  const bytes = await readBody(response, MAX_DOCUMENT_BYTES, { method: 'GET', signal: call.signal });
  // what was promised: the digest asked for, else the one in the header, which must be that of the bytes
  const promised = isDigest(reference) ? reference : digestHeader(response);
  const algorithm = promised?.startsWith('sha512:') ? 'sha512' : 'sha256';
  const digest = parseDigest(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`);
  if (promised !== undefined && digest !== promised) throw mismatch(reference, promised, digest);
  return { descriptor: { mediaType: mediaTypeOf(response), digest, size: bytes.byteLength }, bytes };
}

function isWorthGet(error: RegistryError): boolean {
  const { status } = error;
  return status !== undefined && status >= 400 && status < 500 && status !== 429;
}

/** The descriptor in the headers of a response to HEAD, or undefined when they do not have all of it. */
function describe(response: HttpResponse, reference: string): Descriptor | undefined {
  const digest = digestHeader(response);
  const size = Number(response.headers['content-length'] ?? NaN);
  if (digest === undefined || !Number.isSafeInteger(size) || response.headers['content-type'] === undefined) {
    return undefined;
  }
  // the digest asked for beats what the server says
  if (isDigest(reference) && digest !== reference) throw mismatch(reference, reference, digest);
  return { mediaType: mediaTypeOf(response), digest, size };
}

function digestHeader({ headers }: HttpResponse): Digest | undefined {
  const header = headers['docker-content-digest'];
  return typeof header === 'string' && isDigest(header) ? header : undefined;
}

function mediaTypeOf({ headers }: HttpResponse): string {
  // parameters such as charset are not part of a descriptor's media type
  return (headers['content-type'] ?? '').split(';')[0]!.trim();
}

function mismatch(reference: string, expected: Digest, actual: Digest): ImageSpecError {
  return new ImageSpecError(
    'DIGEST_MISMATCH',
    `manifest ${reference} should be ${expected}, but the registry has ${actual}`,
  );
}

/**
 * Reads the bytes of a manifest and verifies them.
 *
 * @throws {RegistryError} `NOT_FOUND`, …
 * @throws {ImageSpecError} `DIGEST_MISMATCH`, `SIZE_MISMATCH`, `TOO_LARGE` (over 4 MiB)
 */
export async function fetchManifest(
  host: RegistryHost,
  repository: string,
  descriptor: Descriptor,
  call: ManifestCall,
): Promise<Uint8Array> {
  const response = await host.call({
    ...call,
    method: 'GET',
    path: manifestPath(repository, descriptor.digest),
    // the type that is wanted, so that a registry does not convert; it is what the bytes are checked against anyway
    headers: { accept: descriptor.mediaType },
    expect: [200],
  });
  const bytes = await readBody(response, MAX_DOCUMENT_BYTES, { method: 'GET', signal: call.signal });
  verifyBytes(descriptor, bytes);
  return bytes;
}

/** Whether the repository has the manifest. */
export async function hasManifest(
  host: RegistryHost,
  repository: string,
  { digest, mediaType }: Descriptor,
  call: ManifestCall,
): Promise<boolean> {
  const response = await host.call({
    ...call,
    method: 'HEAD',
    path: manifestPath(repository, digest),
    headers: { accept: mediaType },
    expect: [200, 404],
  });
  await discard(response);
  return response.status === 200;
}

/**
 * Stores a manifest under `reference`, a tag or its digest. Its bytes must have been verified.
 *
 * @returns whether the registry has noted the manifest's subject, and so lists it among the referrers by itself
 * @throws {RegistryError} `REFUSED` when the registry lacks content that it refers to
 */
export async function putManifest(
  host: RegistryHost,
  repository: string,
  reference: string,
  { descriptor, bytes }: { descriptor: Descriptor; bytes: Uint8Array },
  call: ManifestCall,
): Promise<{ subjectListed: boolean }> {
  const response = await host.call({
    ...call,
    method: 'PUT',
    path: manifestPath(repository, reference),
    headers: { 'content-type': descriptor.mediaType },
    body: bytes,
    expect: [201, 200, 202],
  });
  await discard(response);
  const stored = digestHeader(response);
  if (
    stored !== undefined &&
    stored !== descriptor.digest &&
    stored.slice(0, 7) === descriptor.digest.slice(0, 7)
  ) {
    throw mismatch(reference, descriptor.digest, stored);
  }
  return { subjectListed: response.headers['oci-subject'] !== undefined };
}

/** @throws {ImageSpecError} `DIGEST_MISMATCH`, `SIZE_MISMATCH` */
export function verifyBytes(descriptor: Descriptor, bytes: Uint8Array): void {
  const verifier = new Verifier(descriptor, createHash);
  verifier.update(bytes);
  verifier.end();
}
