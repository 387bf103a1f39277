/** Errors of registries and of the way to them. */
import { ContainerError } from '@tare/image-spec';
import { redactUrl, scrub } from './redact.ts';

/**
 * Why a registry call failed.
 *
 * - `NOT_FOUND`: manifest, blob or repository unknown (404); `errors` says which.
 * - `UNAUTHORIZED`: credentials missing or wrong (401).
 * - `DENIED`: not allowed with these credentials (403), or a repository that does not exist for this user.
 * - `RATE_LIMITED`: too many requests (429); see `retryAfterMs`.
 * - `UNREACHABLE`: no answer: name not found, connection refused or broken, time-out, TLS failure.
 * - `UNAVAILABLE`: the registry failed (5xx, 408), also after retries.
 * - `UNSUPPORTED`: the registry does not offer this (405, 501), for example deletion.
 * - `REFUSED`: any other refusal (4xx).
 * - `INVALID_RESPONSE`: an answer that breaks the protocol.
 * - `INSECURE`: an answer that would lead to plain http, or to an address the registry has no business with.
 * - `INVALID_CREDENTIALS`: a credential file or helper that cannot be used.
 */
export type RegistryErrorCode =
  | 'NOT_FOUND'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'RATE_LIMITED'
  | 'UNREACHABLE'
  | 'UNAVAILABLE'
  | 'UNSUPPORTED'
  | 'REFUSED'
  | 'INVALID_RESPONSE'
  | 'INSECURE'
  | 'INVALID_CREDENTIALS';

/**
 * One error of a registry's answer.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
 */
export interface RegistryErrorDetail {
  /** For example `MANIFEST_UNKNOWN`. Upper case, as registries write it; others than the spec's occur. */
  code: string;
  message: string;
}

/** What is known of the request that failed. */
export interface RegistryErrorContext {
  method?: string;
  url?: URL | string;
  status?: number;
  errors?: readonly RegistryErrorDetail[];
  retryAfterMs?: number;
  cause?: unknown;
  /** Removed from all texts. */
  secrets?: readonly string[];
}

/** A registry, token server or mirror that did not do what it was asked. Holds no secrets: URLs are redacted. */
export class RegistryError extends ContainerError {
  declare readonly code: RegistryErrorCode;
  /** HTTP method, when a request was made. */
  readonly method: string | undefined;
  /** Without user, password and the values of query parameters that may be secret. */
  readonly url: string | undefined;
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined;
  /** The registry's own errors, first the most telling; empty when it gave none. */
  readonly errors: readonly RegistryErrorDetail[];
  /** How long the registry asked to wait, in milliseconds from the answer. */
  readonly retryAfterMs: number | undefined;

  constructor(code: RegistryErrorCode, message: string, context: RegistryErrorContext = {}) {
    const { method, status, errors = [], secrets = [] } = context;
    const url = context.url === undefined ? undefined : redactUrl(context.url);
    const request = method !== undefined && url !== undefined ? `${method} ${url}: ` : '';
    super(code, scrub(request + message, secrets), { cause: context.cause });
    this.method = method;
    this.url = url;
    this.status = status;
    this.errors = errors.map((error) => ({ code: error.code, message: scrub(error.message, secrets) }));
    this.retryAfterMs = context.retryAfterMs;
  }
}
Object.defineProperty(RegistryError.prototype, 'name', { value: 'RegistryError', writable: true });

/** The code of an HTTP status that is a failure. */
export function codeOfStatus(status: number): RegistryErrorCode {
  switch (status) {
    case 401:
      return 'UNAUTHORIZED';
    case 403:
      return 'DENIED';
    case 404:
      return 'NOT_FOUND';
    case 405:
    case 501:
      return 'UNSUPPORTED';
    case 408:
      return 'UNAVAILABLE';
    case 429:
      return 'RATE_LIMITED';
    default:
      if (status >= 500) return 'UNAVAILABLE';
      return status >= 400 ? 'REFUSED' : 'INVALID_RESPONSE';
  }
}
