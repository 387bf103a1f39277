/** One host that speaks the distribution API, a registry or a mirror: its address, scheme, authorization and retries. */
import type { Readable } from 'node:stream';
import { Authorizer } from './auth/authorizer.ts';
import { parseChallenges } from './auth/challenge.ts';
import type { CredentialSource } from './auth/credentials.ts';
import { RegistryError } from './errors.ts';
import { isLoopback, type InsecureList } from './host-policy.ts';
import {
  discard,
  errorOf,
  exchange,
  readBody,
  type Dispatch,
  type HttpRequest,
  type HttpResponse,
} from './http.ts';
import { retryDelayMs, wait, type RetryOptions } from './retry.ts';
import type { Warnings } from './warnings.ts';

/** One call of the API. */
export interface Call {
  method: HttpRequest['method'];
  /** Below `/v2/`, or a whole URL that the registry gave (uploads). */
  path: string | URL;
  query?: Readonly<Record<string, string>>;
  headers?: Readonly<Record<string, string>>;
  body?: Uint8Array | Readable;
  /** False: a failure is the caller's to repair, since sending again may do more than was meant. Default true. */
  retry?: boolean;
  /** Token scopes it needs. */
  scopes: readonly string[];
  /** Statuses that are success; everything else is thrown. */
  expect: readonly number[];
  signal?: AbortSignal | undefined;
  onRetry?: ((error: unknown, delayMs: number) => void) | undefined;
}

/** What a {@link RegistryHost} needs. */
export interface RegistryHostOptions {
  /** Name for the look-up of credentials. */
  name: string;
  /** Its address: `host[:port]`, or a URL for a fixed scheme and perhaps a path before `/v2/`. */
  address: string;
  credentials: CredentialSource;
  dispatch: Dispatch;
  insecure: InsecureList;
  retry: RetryOptions;
  warnings: Warnings;
}

/** How much of a greeting is read when looking for the scheme. */
const MAX_GREETING_BYTES = 64 * 1024;

/** A registry's or mirror's API. Shared by all repositories on it, so that what is learned once counts for all. */
export class RegistryHost {
  /** Host and port, for events and messages. */
  readonly host: string;
  readonly #options: RegistryHostOptions;
  readonly #authorizer: Authorizer;
  #base: Promise<URL> | undefined;
  /** Until this time (of `performance.now()`) the registry wants to be left alone. */
  #notBefore = 0;

  constructor(options: RegistryHostOptions) {
    this.#options = options;
    const url = URL.parse(options.address.includes('://') ? options.address : `https://${options.address}`);
    if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
      throw new RangeError(
        `${JSON.stringify(options.address)} is not the address of a registry: host[:port] or URL`,
      );
    }
    this.host = url.host;
    if (options.address.includes('://')) {
      if (!url.pathname.endsWith('/')) url.pathname += '/';
      this.#base = Promise.resolve(url);
    }
    this.#authorizer = new Authorizer({ ...options, registry: options.name });
  }

  /**
   * Makes a call: authorized, and retried where that can help and the body can be sent again.
   *
   * @throws {RegistryError}
   */
  async call(call: Call): Promise<HttpResponse> {
    // a stream is gone once it was sent
    const repeatable = call.body === undefined || call.body instanceof Uint8Array;
    for (let attempt = 0; ; attempt++) {
      let error: unknown;
      try {
        await wait(this.#notBefore - performance.now(), call.signal);
        const response = await this.#authorized(call, repeatable);
        this.#options.warnings.read(this.host, response.headers['warning']);
        if (call.expect.includes(response.status)) return response;
        error = await errorOf(response, call, await this.#authorizer.secrets());
      } catch (thrown) {
        call.signal?.throwIfAborted();
        error = thrown;
      }
      const delayMs =
        repeatable && call.retry !== false ? retryDelayMs(error, attempt, this.#options.retry) : undefined;
      if (delayMs === undefined) throw error;
      // what one request was told counts for all, else each would have to be told
      if (error instanceof RegistryError && error.retryAfterMs !== undefined) {
        this.#notBefore = Math.max(this.#notBefore, performance.now() + delayMs);
      }
      call.onRetry?.(error, delayMs);
      await wait(delayMs, call.signal);
    }
  }

  /** The whole URL of a path below `/v2/`. */
  async url(path: string, signal?: AbortSignal): Promise<URL> {
    return new URL(`v2/${path}`, await this.#findBase(signal));
  }

  async #authorized(call: Call, repeatable: boolean): Promise<HttpResponse> {
    const url = typeof call.path === 'string' ? await this.url(call.path, call.signal) : new URL(call.path);
    for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
    // an upload may be sent elsewhere, to a host that our credentials are not for
    const own = url.origin === (await this.#findBase(call.signal)).origin;
    const authorization = own ? await this.#authorizer.header(call.scopes, call.signal) : undefined;
    const request: HttpRequest = { ...call, url, authorization };
    const response = await exchange(this.#options.dispatch, request);
    // nor is a challenge answered that another host gave, after a redirect
    if (response.status !== 401 || !own || response.url.origin !== url.origin) return response;
    const challenges = parseChallenges(response.headers['www-authenticate']);
    const answer = await this.#authorizer.answer(challenges, url, call.scopes, authorization, call.signal);
    // a stream is gone: who can make it again finds the new token in place
    if (answer === undefined || !repeatable) return response;
    await discard(response);
    // once only: a registry that refuses what its own token server gave would have us run in circles
    return exchange(this.#options.dispatch, { ...request, authorization: answer });
  }

  #findBase(signal: AbortSignal | undefined): Promise<URL> {
    this.#base ??= this.#probe(signal).catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    return this.#base;
  }

  /**
   * https, except for the hosts where plain http is allowed: there both are tried, without credentials. A registry on
   * loopback usually speaks http, one on the insecure list usually https with a certificate nobody signed.
   */
  async #probe(signal: AbortSignal | undefined): Promise<URL> {
    const { address, insecure } = this.#options;
    const https = new URL(`https://${address}/`);
    const http = new URL(`http://${address}/`);
    if (isLoopback(address)) return this.#firstThatAnswers([http, https], signal);
    if (insecure(address)) return this.#firstThatAnswers([https, http], signal);
    return https;
  }

  async #firstThatAnswers(bases: readonly [URL, URL], signal: AbortSignal | undefined): Promise<URL> {
    const failures: unknown[] = [];
    for (const base of bases) {
      const request = { method: 'GET' as const, url: new URL('v2/', base), signal };
      try {
        const response = await exchange(this.#options.dispatch, request);
        const greeting = await readBody(response, MAX_GREETING_BYTES, request);
        // how TLS servers answer plain http
        const wantsTls = response.status === 400 && /\bHTTPS\b/.test(new TextDecoder().decode(greeting));
        if (!wantsTls) return base;
      } catch (error) {
        signal?.throwIfAborted();
        failures.push(error);
      }
    }
    const [first, second] = failures;
    if (second === undefined && first !== undefined) throw first;
    const why = [first, second].map((error) => (error instanceof Error ? error.message : '')).join('; ');
    const options = { cause: second === undefined ? undefined : new AggregateError(failures) };
    throw new RegistryError(
      'UNREACHABLE',
      `${bases[0].host} answers neither http nor https: ${why}`,
      options,
    );
  }
}
