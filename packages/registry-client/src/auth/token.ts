/**
 * Gets access tokens from token servers.
 *
 * @see https://distribution.github.io/distribution/spec/auth/token/
 * @see https://distribution.github.io/distribution/spec/auth/oauth/
 */
import { z } from 'zod';
import { RegistryError } from '../errors.ts';
import { hostnameOf, isInternal, isLoopback, type InsecureList } from '../host-policy.ts';
import { errorOf, exchange, readBody, type Dispatch, type HttpRequest } from '../http.ts';
import type { Credentials } from './credentials.ts';

/** What a `Bearer` challenge says of the token server. */
export interface TokenServer {
  realm: URL;
  service: string | undefined;
}

/** A token, good until `expiresAt` by this machine's clock. */
export interface AccessToken {
  token: string;
  expiresAt: number;
  /** Replaces the identity token, when the server gave a new one. */
  refreshToken: string | undefined;
}

/** Bytes of a token answer that are read at most; tokens are a few KiB. */
const MAX_TOKEN_BYTES = 1024 * 1024;
/** What a token lasts when the server does not say, and the least it may say, in seconds (token spec). */
const MIN_LIFETIME_S = 60;
/** Taken off the lifetime, so that a token does not expire on its way. */
const SKEW_S = 10;

const optionalString = z.string().nullish();
const answerSchema = z.looseObject({
  token: optionalString,
  access_token: optionalString,
  refresh_token: optionalString,
  expires_in: z.number().nullish(),
});

/**
 * Checks that `realm` may be sent credentials for `registry`.
 *
 * It must be https; plain http is for registries that are themselves reached so, on the same host, on loopback, or on
 * the user's insecure list. Internal addresses are only for registries of the same host or on internal addresses.
 *
 * @throws {RegistryError} `INSECURE`, `INVALID_RESPONSE`
 */
export function checkRealm(realm: string | undefined, registry: URL, insecure: InsecureList): URL {
  const url = realm === undefined ? null : URL.parse(realm);
  const context = { method: 'GET', url: registry };
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new RegistryError(
      'INVALID_RESPONSE',
      'was told of a token server without a valid http or https URL',
      context,
    );
  }
  url.username = '';
  url.password = '';
  const sameHost = hostnameOf(url.host) === hostnameOf(registry.host);
  const trusted = sameHost || insecure(url.host) || (isLoopback(url.host) && isLoopback(registry.host));
  if (url.protocol === 'http:' && !(registry.protocol === 'http:' && trusted)) {
    throw new RegistryError('INSECURE', `refused a token server without https: ${url.origin}`, context);
  }
  if (isInternal(url.host) && !trusted && !isInternal(registry.host)) {
    throw new RegistryError(
      'INSECURE',
      `refused a token server on an internal address: ${url.origin}`,
      context,
    );
  }
  return url;
}

/**
 * Asks for a token: with a refresh token by POST (OAuth 2), else by GET, with user and password or anonymously.
 *
 * @throws {RegistryError} `UNAUTHORIZED`, `DENIED`, … as the token server answers
 */
export async function requestToken(
  dispatch: Dispatch,
  server: TokenServer,
  scopes: readonly string[],
  credentials: Credentials | undefined,
  signal: AbortSignal,
): Promise<AccessToken> {
  const request =
    credentials !== undefined && 'identityToken' in credentials
      ? refreshRequest(server, scopes, credentials.identityToken)
      : plainRequest(server, scopes, credentials);
  const response = await exchange(dispatch, { ...request, signal });
  if (response.status !== 200) {
    throw await errorOf(response, { method: request.method, signal }, secretsOf(credentials));
  }
  const receivedAt = Date.now();
  const body = await readBody(response, MAX_TOKEN_BYTES, { method: request.method, signal });
  const parsed = answerSchema.safeParse(parseJson(body));
  // OAuth 2 has access_token, the older protocol has token; where both are given they are the same
  const token = parsed.data?.token || parsed.data?.access_token;
  // a line break would smuggle a header into our requests
  if (!parsed.success || !token || !/^[\x21-\x7e]+$/.test(token)) {
    throw new RegistryError('INVALID_RESPONSE', 'the token server answered without a usable token', {
      method: request.method,
      url: request.url,
      status: 200,
    });
  }
  const lifetimeS = Math.max(MIN_LIFETIME_S, parsed.data.expires_in ?? 0) - SKEW_S;
  return {
    token,
    expiresAt: receivedAt + lifetimeS * 1_000,
    refreshToken: parsed.data.refresh_token || undefined,
  };
}

function plainRequest(
  { realm, service }: TokenServer,
  scopes: readonly string[],
  credentials: Credentials | undefined,
): HttpRequest {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (credentials === undefined || !('password' in credentials)) return { method: 'GET', url };
  url.searchParams.set('account', credentials.username);
  return { method: 'GET', url, authorization: basicHeader(credentials) };
}

function refreshRequest(
  { realm, service }: TokenServer,
  scopes: readonly string[],
  token: string,
): HttpRequest {
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: 'tare',
    refresh_token: token,
    ...(service !== undefined && { service }),
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
  });
  return {
    method: 'POST',
    url: realm,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(form.toString()),
  };
}

/** The `Authorization` header of user and password. */
export function basicHeader({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Everything of `credentials` that must not show in a message. */
export function secretsOf(credentials: Credentials | undefined): string[] {
  if (credentials === undefined) return [];
  if ('identityToken' in credentials) return [credentials.identityToken];
  if ('registryToken' in credentials) return [credentials.registryToken];
  return [credentials.password, basicHeader(credentials).slice('Basic '.length)];
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // the schema says what is wrong with it: it is not an object
    return undefined;
  }
}
