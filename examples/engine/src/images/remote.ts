/** Registries, as the image service sees them; main implements these on the registry client. */
import type { Descriptor, Reference } from '@tare/image-spec';
import type { ContentSource, ResumableSink, Resolver, Tagger } from '@tare/image-spec/content';

/** Credentials for one registry. */
export interface RegistryAuth {
  username?: string;
  password?: string;
  /** An OAuth2 refresh token, in place of a password. */
  identityToken?: string;
  /** A bearer token to use as it is. */
  registryToken?: string;
}

/** A repository to read from: a registry's, or its mirrors'. */
export interface RemoteSource extends ContentSource, Resolver {
  /** Every tag. */
  tags(options?: { signal?: AbortSignal }): AsyncIterable<string>;
}

/** A repository of a registry, with its mirrors before it for what is read. */
export interface RemoteRepository extends RemoteSource, ResumableSink, Tagger {}

/** What happens to one blob on its way to a registry: a part of the registry client's events. */
export interface TransferEvent {
  kind: 'start' | 'progress' | 'retry' | 'done' | 'exists' | 'mounted';
  descriptor: Descriptor;
  transferredBytes: number;
  /** With `mounted`: the repository it was taken from. */
  from?: string | undefined;
}

/** How a repository is opened. */
export interface OpenOptions {
  auth?: RegistryAuth | undefined;
  /** Repositories of the same registry that may have what will be pushed. */
  mountFrom?: readonly string[];
  onTransfer?: (event: TransferEvent) => void;
}

/** Opens repositories. */
export type OpenRepository = (
  reference: Reference,
  options: OpenOptions,
) => Promise<RemoteRepository> | RemoteRepository;

/** One repository that a search found. */
export interface FoundRepository {
  name: string;
  description: string;
  stars: number;
  official: boolean;
}

/** Searches a registry. @param registry - `docker.io` or `host[:port]` */
export type SearchRegistry = (
  registry: string,
  term: string,
  options: { limit: number; auth?: RegistryAuth | undefined; signal: AbortSignal },
) => Promise<FoundRepository[]>;
