/**
 * Image references: `registry/repository:tag@digest`, and the short forms people type.
 *
 * The grammar and its normalisation are those of the distribution project, so that a name means the same here as in
 * Docker.
 *
 * @see https://github.com/distribution/reference
 */
import { parseDigest, type Digest } from './digest.ts';
import { ImageSpecError } from './errors.ts';

/** A whole, normalised reference. */
export interface Reference {
  /** Host with an optional port, for example `docker.io` or `localhost:5000`. Docker Hub is always `docker.io`. */
  readonly registry: string;
  /** Path inside the registry, for example `library/alpine`. */
  readonly repository: string;
  /** Absent when none was given: nothing is assumed, see {@link withDefaultTag}. */
  readonly tag?: string;
  readonly digest?: Digest;
}

/** The registry of names that do not say one. */
export const DEFAULT_REGISTRY = 'docker.io';
/** The tag of references that name neither tag nor digest. */
export const DEFAULT_TAG = 'latest';

/** Docker Hub's own images live under this path, which people leave out. */
const OFFICIAL_PREFIX = 'library/';
/** Longest repository path, in characters. */
const MAX_REPOSITORY_LENGTH = 255;

const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = String.raw`(?:${domainComponent}(?:\.${domainComponent})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?`;
const pathComponent = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const path = `${pathComponent}(?:/${pathComponent})*`;
const tag = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';

const DOMAIN = new RegExp(`^${domain}$`);
const PATH = new RegExp(`^${path}$`);
const TAG = new RegExp(`^${tag}$`);
/** A bare image id; as a name it would be mistaken for one. */
const IDENTIFIER = /^[a-f0-9]{64}$/;

/** Whether `text` is a tag: up to 128 word characters, dots and dashes, not starting with the latter two. */
export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** Whether `text` is a repository path inside a registry, for example `library/alpine`. */
export function isRepositoryName(text: string): boolean {
  return text.length <= MAX_REPOSITORY_LENGTH && PATH.test(text);
}

/**
 * Parses what a person types, and completes it: `alpine` is `docker.io/library/alpine`, `me/app` is
 * `docker.io/me/app`, `localhost:5000/app` is itself. The first part is a registry when it holds a dot, a colon or an
 * upper-case letter, or is `localhost`.
 *
 * @throws {ImageSpecError} `INVALID_REFERENCE`; a well-formed reference with an unknown digest algorithm: `INVALID_DIGEST`
 */
export function parseReference(text: string): Reference {
  if (IDENTIFIER.test(text)) {
    throw invalid(text, '64 hexadecimal digits are an image id, not a name');
  }
  const { registry, rest } = splitRegistry(text);
  const at = rest.indexOf('@');
  const named = at === -1 ? rest : rest.slice(0, at);
  const colon = named.indexOf(':');
  const repository = colon === -1 ? named : named.slice(0, colon);
  const tag = colon === -1 ? undefined : named.slice(colon + 1);

  if (!DOMAIN.test(registry)) throw invalid(text, 'the registry must be a host name with an optional port');
  if (!PATH.test(repository)) {
    if (repository === '') throw invalid(text, 'the repository name is missing');
    throw invalid(
      text,
      repository.toLowerCase() === repository
        ? 'the repository name may hold lower-case letters, digits and single separators (. _ __ -) between them'
        : 'repository name must be lowercase',
    );
  }
  if (repository.length > MAX_REPOSITORY_LENGTH) {
    throw invalid(text, `the repository name must not be longer than ${MAX_REPOSITORY_LENGTH} characters`);
  }
  if (tag !== undefined && !TAG.test(tag)) {
    throw invalid(text, 'a tag has 1 to 128 letters, digits, _ . - and starts with none of . -');
  }
  const digest = at === -1 ? undefined : rest.slice(at + 1);
  return {
    registry,
    repository,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest: parseDigest(digest) }),
  };
}

function splitRegistry(text: string): { registry: string; rest: string } {
  const slash = text.indexOf('/');
  const first = slash === -1 ? '' : text.slice(0, slash);
  let registry = DEFAULT_REGISTRY;
  let rest = text;
  // the first part is a host only when it cannot be a path component, by the rules of the grammar
  if (first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first) {
    registry = first === 'index.docker.io' ? DEFAULT_REGISTRY : first;
    rest = text.slice(slash + 1);
  }
  if (registry === DEFAULT_REGISTRY && !rest.includes('/')) rest = OFFICIAL_PREFIX + rest;
  return { registry, rest };
}

function invalid(text: string, why: string): ImageSpecError {
  return new ImageSpecError(
    'INVALID_REFERENCE',
    `invalid reference format: ${JSON.stringify(text.slice(0, 300))}: ${why}`,
  );
}

/** The whole name, for example `docker.io/library/alpine:3.20`. */
export function formatReference(reference: Reference): string {
  return `${reference.registry}/${reference.repository}${suffix(reference)}`;
}

/**
 * The short form that Docker shows, for example `alpine:3.20`.
 *
 * Always parses back to the same reference: where leaving `docker.io` out would change the meaning, it stays.
 */
export function familiarReference(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

/** The short form without tag and digest, for example `alpine`; see {@link familiarReference}. */
export function familiarName({ registry, repository }: Reference): string {
  const whole = `${registry}/${repository}`;
  if (registry !== DEFAULT_REGISTRY) return whole;
  const official = repository.startsWith(OFFICIAL_PREFIX) ? repository.slice(OFFICIAL_PREFIX.length) : '/';
  const short = official.includes('/') ? repository : official;
  const back = splitRegistry(short);
  return back.registry === registry && back.rest === repository && !IDENTIFIER.test(short) ? short : whole;
}

/** The reference with the tag `latest` when it has neither tag nor digest; else itself. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: DEFAULT_TAG };
}

/** What a registry is asked for: the digest, which wins, else the tag, else `latest`. */
export function referenceTarget({ tag, digest }: Reference): string {
  return digest ?? tag ?? DEFAULT_TAG;
}

function suffix({ tag, digest }: Reference): string {
  return (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`);
}
