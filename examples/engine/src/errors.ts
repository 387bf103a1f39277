/** The one error hierarchy of the engine: what went wrong, in the classes a client can tell apart. */

/** Stable classes of failure; `http/errors.ts` gives each its HTTP status. */
export type EngineErrorCode =
  | 'INVALID'
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'NOT_MODIFIED'
  | 'SYSTEM'
  | 'NOT_IMPLEMENTED'
  | 'UNAVAILABLE'
  | 'CANCELLED';

/** An error whose message is meant for the client, word for word. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;
  /** A number for the last message of a stream: the exit code of a build's command. */
  readonly detailCode: number | undefined;

  constructor(
    code: EngineErrorCode,
    message: string,
    options: { cause?: unknown; detailCode?: number } = {},
  ) {
    super(message, options);
    this.code = code;
    this.detailCode = options.detailCode;
  }

  /** The same error with `prefix` before its message; the class stays. */
  prefixed(prefix: string): EngineError {
    return new EngineError(this.code, prefix + this.message, { cause: this });
  }
}
Object.defineProperty(EngineError.prototype, 'name', { value: 'EngineError', writable: true });

type Options = { cause?: unknown };

/** The request cannot be right, whatever the state of the engine (400). */
export const invalid = (message: string, options?: Options): EngineError =>
  new EngineError('INVALID', message, options);
/** A registry refused the credentials (401). */
export const unauthorized = (message: string, options?: Options): EngineError =>
  new EngineError('UNAUTHORIZED', message, options);
/** Never allowed, for example removing a pre-defined network (403). */
export const forbidden = (message: string, options?: Options): EngineError =>
  new EngineError('FORBIDDEN', message, options);
/** The named thing does not exist (404). */
export const notFound = (message: string, options?: Options): EngineError =>
  new EngineError('NOT_FOUND', message, options);
/** The named thing is in a state that forbids this (409). */
export const conflict = (message: string, options?: Options): EngineError =>
  new EngineError('CONFLICT', message, options);
/** Nothing to do: already started, already stopped (304, no body). */
export const notModified = (message: string, options?: Options): EngineError =>
  new EngineError('NOT_MODIFIED', message, options);
/** The engine or the system below it failed (500). */
export const systemError = (message: string, options?: Options): EngineError =>
  new EngineError('SYSTEM', message, options);
/** A part of the API that this engine does not have (501). */
export const notImplemented = (message: string, options?: Options): EngineError =>
  new EngineError('NOT_IMPLEMENTED', message, options);
/** Not now: shutting down, or not part of a swarm (503). */
export const unavailable = (message: string, options?: Options): EngineError =>
  new EngineError('UNAVAILABLE', message, options);

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
