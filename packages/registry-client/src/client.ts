/** The way in: a client for any number of registries, with the policy of how to reach each. */
import { DEFAULT_REGISTRY, parseReference, type Reference } from '@tare/image-spec';
import type { Dispatcher } from 'undici';
import { anonymous, credentialsFor, type Credentials, type CredentialSource } from './auth/credentials.ts';
import { CATALOG_SCOPE } from './auth/scope.ts';
import type { RegistryTls } from './certificates.ts';
import { Connections } from './connections.ts';
import { CATALOG_PATH } from './endpoints.ts';
import { compileInsecureList, isLoopback, type InsecureList } from './host-policy.ts';
import { discard } from './http.ts';
import { listPages } from './pagination.ts';
import type { OnTransfer } from './progress.ts';
import { RegistryHost } from './registry-host.ts';
import { Repository } from './repository.ts';
import type { RetryOptions } from './retry.ts';
import { searchRepositories, type SearchResult } from './search.ts';
import type { UploadJournal } from './upload-journal.ts';
import { Warnings, type RegistryWarning } from './warnings.ts';

/** The host behind the name `docker.io`: a constant of the protocol, older than the name. */
export const DOCKER_HUB_HOST = 'registry-1.docker.io';

/** The host that searches for the name `docker.io`: older still. */
const DOCKER_HUB_INDEX = 'index.docker.io';

/** Options of a {@link RegistryClient}. */
export interface RegistryClientOptions {
  /** Default: none, anonymous everywhere. See {@link "auth/docker-config".dockerConfigCredentials}. */
  credentials?: CredentialSource;
  /**
   * Registries that may be reached over plain http or with a certificate that cannot be verified: `host`, `host:port`,
   * or a network such as `10.0.0.0/8`. Loopback is always one. Default: none.
   */
  insecure?: readonly string[];
  /**
   * Of a registry's name (`docker.io`), the mirrors to read from before it, in order: `host[:port]` or a URL, whose
   * scheme then holds. A mirror gets its own credentials, looked up under its host, never those of the registry.
   */
  mirrors?: Readonly<Record<string, readonly string[]>>;
  retry?: RetryOptions;
  /**
   * By `host[:port]`, how TLS is spoken with it; also for mirrors, token servers and storage. See
   * {@link "certificates".readCertificateDirectories}. Holds over `insecure` and over loopback's privilege.
   */
  tls?: Readonly<Record<string, RegistryTls>>;
  /**
   * The proxy's URL, or `environment` for what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say. Default: none. Not for
   * use with `dispatcher`.
   */
  proxy?: 'environment' | (string & {});
  /**
   * Connections to one host at a time; further requests wait. Default: no limit. A copy within one registry holds two a
   * blob, so this must be more than twice the blobs copied at a time.
   */
  connectionsPerHost?: number;
  /** Speaks HTTP/2 with hosts that do. Default true. */
  http2?: boolean;
  /** Told of warnings that registries send with their answers, each once. */
  onWarning?: (warning: RegistryWarning) => void;
  /** Makes the connections, for example an undici `ProxyAgent`. Stays the caller's to close. Default: an Agent of the client's own. */
  dispatcher?: Dispatcher;
}

/** Options of one repository. */
export interface RepositoryOptions {
  /** For this repository's registry alone, in place of the client's. */
  credentials?: Credentials;
  onTransfer?: OnTransfer;
  /** Repositories of the same registry from which a push may mount blobs, best first. Default: none. */
  mountFrom?: readonly string[];
  /**
   * Blobs larger than this are pushed in chunks of this many bytes, each held in memory, and a push goes on where a
   * connection broke. Default: in one request, which is faster and starts from the beginning when it is made anew.
   */
  chunkBytes?: number;
  /**
   * Where uploads in chunks are written down, so that a push goes on where another process, or an earlier call, left off:
   * {@link uploadJournal}. Default: nowhere, and what is not finished is cancelled.
   */
  uploads?: UploadJournal;
}

/**
 * A client for registries. Making one opens no connection; closing it ends those that are open.
 *
 * @example
 * await using client = new RegistryClient();
 * const repository = client.repository('alpine:3.20');
 * await copyGraph(repository, store, await repository.resolve());
 */
export class RegistryClient implements AsyncDisposable {
  readonly #options: RegistryClientOptions;
  readonly #insecure: InsecureList;
  readonly #connections: Connections;
  readonly #hosts = new Map<string, RegistryHost>();
  readonly #warnings: Warnings;

  /** @throws {RangeError} for an entry of `insecure` or `mirrors` that is not an address */
  constructor(options: RegistryClientOptions = {}) {
    this.#options = options;
    this.#warnings = new Warnings(options.onWarning);
    this.#insecure = compileInsecureList(options.insecure ?? []);
    this.#connections = new Connections({
      tls: options.tls ?? {},
      proxy: options.proxy,
      connectionsPerHost: options.connectionsPerHost,
      http2: options.http2 ?? true,
      dispatcher: options.dispatcher,
      unverified: (host) => isLoopback(host) || this.#insecure(host),
    });
    for (const mirrors of Object.values(options.mirrors ?? {}))
      for (const mirror of mirrors) this.#mirror(mirror);
  }

  /**
   * The repository of `reference`, for example `alpine`, `localhost:5000/app:v1`, or a parsed one.
   *
   * @throws {ImageSpecError} `INVALID_REFERENCE`
   */
  repository(reference: Reference | string, options: RepositoryOptions = {}): Repository {
    const parsed = typeof reference === 'string' ? parseReference(reference) : reference;
    const { registry } = parsed;
    // credentials of one caller must not serve another, so neither may the tokens they bought
    const origin = this.#hostFor(registry, addressOf(registry), options.credentials);
    return new Repository({
      reference: parsed,
      origin,
      mirrors: (this.#options.mirrors?.[registry] ?? []).map((mirror) => this.#mirror(mirror)),
      retry: this.#options.retry ?? {},
      onTransfer: options.onTransfer,
      mountFrom: options.mountFrom ?? [],
      chunkBytes: options.chunkBytes,
      uploads: options.uploads,
    });
  }

  /**
   * Checks that `registry` is there, speaks the distribution API and accepts the credentials.
   *
   * @param registry host with an optional port; `docker.io` for Docker Hub
   * @param options.credentials in place of the client's
   * @throws {RegistryError} `UNREACHABLE`, `UNAUTHORIZED`, `NOT_FOUND` (no registry), …
   */
  async ping(
    registry: string,
    options: { credentials?: Credentials; signal?: AbortSignal } = {},
  ): Promise<void> {
    options.signal?.throwIfAborted();
    const host = this.#hostFor(registry, addressOf(registry), options.credentials);
    const call = { method: 'GET' as const, path: '', scopes: [], expect: [200], signal: options.signal };
    await discard(await host.call(call));
  }

  /** Every repository of `registry`, in its order. Many registries refuse this. */
  catalog(
    registry: string,
    options: { pageSize?: number; signal?: AbortSignal } = {},
  ): AsyncIterable<string> {
    const call = { scopes: [CATALOG_SCOPE], signal: options.signal };
    return listPages(this.#registry(registry), CATALOG_PATH, 'repositories', call, options.pageSize);
  }

  /**
   * Repositories whose names or descriptions have to do with `term`: by the registry's own search (`/v1/search`, which
   * Docker Hub has), else those of its catalog whose names contain it.
   *
   * @param options.limit most results. Default 25
   */
  search(
    registry: string,
    term: string,
    options: { limit?: number; credentials?: Credentials; signal?: AbortSignal } = {},
  ): Promise<SearchResult[]> {
    const address = registry === DEFAULT_REGISTRY ? DOCKER_HUB_INDEX : registry;
    const host = this.#hostFor(registry, address, options.credentials);
    return searchRepositories(host, term, options.limit ?? 25, options.signal);
  }

  /** Ends all connections at once; calls under way fail. */
  async close(): Promise<void> {
    await this.#connections.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #registry(registry: string): RegistryHost {
    return this.#hostFor(registry, addressOf(registry), undefined);
  }

  #hostFor(registry: string, address: string, credentials: Credentials | undefined): RegistryHost {
    return credentials === undefined
      ? this.#shared(`registry ${registry} ${address}`, registry, address)
      : this.#newHost(registry, address, credentialsFor(registry, credentials));
  }

  #mirror(mirror: string): RegistryHost {
    const name = URL.parse(mirror.includes('://') ? mirror : `https://${mirror}`)?.host ?? mirror;
    return this.#shared(`mirror ${mirror}`, name, mirror);
  }

  #shared(key: string, name: string, address: string): RegistryHost {
    let host = this.#hosts.get(key);
    if (host === undefined) {
      host = this.#newHost(name, address, this.#options.credentials ?? anonymous);
      this.#hosts.set(key, host);
    }
    return host;
  }

  #newHost(name: string, address: string, credentials: CredentialSource): RegistryHost {
    return new RegistryHost({
      name,
      address,
      credentials,
      dispatch: (url) => this.#connections.dispatcherFor(url),
      insecure: this.#insecure,
      retry: this.#options.retry ?? {},
      warnings: this.#warnings,
    });
  }
}

function addressOf(registry: string): string {
  return registry === DEFAULT_REGISTRY ? DOCKER_HUB_HOST : registry;
}
