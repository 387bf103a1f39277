/** When to try again, and how long to wait before. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryError } from './errors.ts';

/** How failures that may pass are retried. */
export interface RetryOptions {
  /** Tries in all, the first included. Default 5. */
  attempts?: number;
  /** Wait before the second try, in milliseconds; doubles each time. Default 200. */
  baseMs?: number;
  /** Longest wait of our own choosing, in milliseconds. Default 3,000. */
  maxMs?: number;
  /** Longest wait a registry may ask for with Retry-After, in milliseconds; beyond it the call fails. Default 60,000. */
  maxRetryAfterMs?: number;
}

const STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Network failures that waiting does not mend: nobody listens, the name does not exist, the certificate is wrong.
 * Trying again would only delay the message (or the next mirror).
 */
const FINAL =
  /^(?:ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED|UNABLE_TO_)/;

/** How long to wait before try number `attempt` + 2 (so `attempt` counts failures from 0), or undefined to give up. */
export function retryDelayMs(error: unknown, attempt: number, options: RetryOptions): number | undefined {
  if (!(error instanceof RegistryError) || attempt + 1 >= (options.attempts ?? 5)) return undefined;
  if (error.code === 'UNREACHABLE') {
    if (FINAL.test(systemCode(error))) return undefined;
  } else if (error.status === undefined || !STATUSES.has(error.status)) {
    return undefined;
  }
  if (error.retryAfterMs !== undefined) {
    return error.retryAfterMs <= (options.maxRetryAfterMs ?? 60_000) ? error.retryAfterMs : undefined;
  }
  const full = Math.min(options.maxMs ?? 3_000, (options.baseMs ?? 200) * 2 ** attempt);
  // half of it at random, so that many clients that failed together do not come back together
  return full / 2 + Math.random() * (full / 2);
}

function systemCode(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 5 && inner instanceof Error; depth++) {
    const code = (inner as NodeJS.ErrnoException).code;
    if (!(inner instanceof RegistryError) && typeof code === 'string' && !code.startsWith('UND_ERR'))
      return code;
    inner = inner instanceof AggregateError ? inner.errors[0] : inner.cause;
  }
  return '';
}

/** Waits `ms`; rejects with `signal.reason` when that comes first. */
export async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (ms <= 0) return;
  try {
    await sleep(ms, undefined, signal && { signal });
  } catch (error) {
    // timers wrap the reason; callers are promised the reason itself
    signal?.throwIfAborted();
    throw error;
  }
}
