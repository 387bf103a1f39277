/** Finds the `Authorization` header for requests to one registry, and remembers what worked. */
import type { InsecureList } from '../host-policy.ts';
import type { Dispatch } from '../http.ts';
import type { Challenge } from './challenge.ts';
import type { Credentials, CredentialSource } from './credentials.ts';
import { mergeScopes, repositoryOf } from './scope.ts';
import {
  basicHeader,
  checkRealm,
  requestToken,
  secretsOf,
  type AccessToken,
  type TokenServer,
} from './token.ts';

/** Longest a token server may take, in milliseconds. */
const TOKEN_TIMEOUT_MS = 30_000;

/** What an {@link Authorizer} needs. */
export interface AuthorizerOptions {
  /** The registry's name, for the look-up of credentials. */
  registry: string;
  credentials: CredentialSource;
  dispatch: Dispatch;
  insecure: InsecureList;
}

/**
 * Answers the challenges of one registry.
 *
 * Tokens are kept per set of scopes until they expire, and each is asked for once however many requests need it. The
 * credentials are looked up once, or once a repository where they differ. Nothing secret is enumerable, so that logging a client does not leak it.
 */
export class Authorizer {
  readonly #options: AuthorizerOptions;
  /** By repository; by '' where they are the registry's. */
  readonly #credentials = new Map<string, Promise<Credentials | undefined>>();
  /** What the registry asked for last: then the header can be sent without being asked again. */
  #method: 'basic' | TokenServer | undefined;
  /** Of the scopes, joined: the token, perhaps still on its way. */
  readonly #tokens = new Map<string, Promise<AccessToken>>();
  /** By the same. */
  readonly #refreshTokens = new Map<string, string>();

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /**
   * The header to send with a request that needs `scopes`, as far as the registry is known; undefined when it has
   * never asked for any.
   *
   * @throws {RegistryError} what the token server answers
   */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const credentials = await this.#lookUp(scopes, signal);
    if (credentials !== undefined && 'registryToken' in credentials)
      return `Bearer ${credentials.registryToken}`;
    if (this.#method === undefined) return undefined;
    if (this.#method === 'basic') {
      return credentials !== undefined && 'password' in credentials ? basicHeader(credentials) : undefined;
    }
    return this.#bearer(this.#method, scopes, scopes, undefined, signal);
  }

  /**
   * The header that answers `challenges`, given after `rejected` was not good enough; undefined when there is nothing
   * (else) to offer.
   *
   * @param registry where the challenge came from
   * @throws {RegistryError} what the token server answers, `INSECURE`, `INVALID_RESPONSE`
   */
  async answer(
    challenges: readonly Challenge[],
    registry: URL,
    scopes: readonly string[],
    rejected: string | undefined,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const credentials = await this.#lookUp(scopes, signal);
    if (credentials !== undefined && 'registryToken' in credentials) return undefined;
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) {
      const realm = checkRealm(bearer.params.get('realm'), registry, this.#options.insecure);
      const server: TokenServer = { realm, service: bearer.params.get('service') };
      this.#method = server;
      const wanted = mergeScopes([...scopes, ...(bearer.params.get('scope')?.split(' ') ?? [])]);
      const header = await this.#bearer(server, scopes, wanted, rejected, signal);
      return header === rejected ? undefined : header;
    }
    if (challenges.some(({ scheme }) => scheme === 'basic')) {
      if (credentials === undefined || !('password' in credentials)) return undefined;
      this.#method = 'basic';
      const header = basicHeader(credentials);
      return header === rejected ? undefined : header;
    }
    return undefined;
  }

  /** What must not show in messages about requests to this registry: credentials, and the tokens they bought. */
  async secrets(): Promise<string[]> {
    const tokens = await Promise.allSettled(this.#tokens.values());
    const words = tokens.flatMap((result) => (result.status === 'fulfilled' ? [result.value.token] : []));
    const known = await Promise.allSettled(this.#credentials.values());
    const own = known.flatMap((result) => (result.status === 'fulfilled' ? secretsOf(result.value) : []));
    return [...words, ...own, ...this.#refreshTokens.values()];
  }

  async #bearer(
    server: TokenServer,
    scopes: readonly string[],
    wanted: readonly string[],
    rejected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const key = mergeScopes(scopes).join(' ');
    const kept = this.#tokens.get(key);
    if (kept !== undefined) {
      const token = await raceAbort(kept, signal);
      if (token.expiresAt > Date.now() && `Bearer ${token.token}` !== rejected)
        return `Bearer ${token.token}`;
      // only the one who finds it stale replaces it; those who come after share the new one
      if (this.#tokens.get(key) === kept) this.#tokens.delete(key);
    }
    const shared = this.#tokens.get(key) ?? this.#request(server, scopes, mergeScopes(wanted), key);
    return `Bearer ${(await raceAbort(shared, signal)).token}`;
  }

  #request(
    server: TokenServer,
    asked: readonly string[],
    wanted: readonly string[],
    key: string,
  ): Promise<AccessToken> {
    const request = this.#fetchToken(server, asked, wanted);
    this.#tokens.set(key, request);
    request.catch(() => {
      if (this.#tokens.get(key) === request) this.#tokens.delete(key);
    });
    return request;
  }

  /** @param asked scopes of the call, which say whose credentials it needs; `wanted` may have more */
  async #fetchToken(
    server: TokenServer,
    asked: readonly string[],
    wanted: readonly string[],
  ): Promise<AccessToken> {
    let credentials = await this.#lookUp(asked);
    const key = this.#keyOf(asked);
    const refreshToken = this.#refreshTokens.get(key);
    if (refreshToken !== undefined) credentials = { identityToken: refreshToken };
    // not the signal of the request that needed it first: others wait for the same token
    const signal = AbortSignal.timeout(TOKEN_TIMEOUT_MS);
    const token = await requestToken(this.#options.dispatch, server, wanted, credentials, signal);
    // only where a refresh token was used: elsewhere it would replace a password by something that expires
    if (credentials !== undefined && 'identityToken' in credentials) {
      if (token.refreshToken === undefined) this.#refreshTokens.delete(key);
      else this.#refreshTokens.set(key, token.refreshToken);
    }
    return token;
  }

  /** Whose credentials calls with these scopes need. */
  #keyOf(scopes: readonly string[]): string {
    return this.#options.credentials.perRepository === true ? (repositoryOf(scopes) ?? '') : '';
  }

  async #lookUp(scopes: readonly string[], signal?: AbortSignal): Promise<Credentials | undefined> {
    const repository = this.#keyOf(scopes);
    let found = this.#credentials.get(repository);
    if (found === undefined) {
      const { credentials, registry } = this.#options;
      found = credentials.get(registry, repository === '' ? {} : { repository }).catch((error: unknown) => {
        // a keychain that was locked may be open the next time
        this.#credentials.delete(repository);
        throw error;
      });
      this.#credentials.set(repository, found);
    }
    return raceAbort(found, signal);
  }
}

/** `promise`, or the rejection of `signal` when that comes first; the promise goes on for others. */
async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
