/** Error → HTTP status and the body `{"message": …}`. */
import { ContainerError } from '@tare/image-spec';
import { EngineError, type EngineErrorCode, messageOf } from '../errors.ts';

const STATUS: Record<EngineErrorCode, number> = {
  INVALID: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  NOT_MODIFIED: 304,
  SYSTEM: 500,
  NOT_IMPLEMENTED: 501,
  UNAVAILABLE: 503,
  CANCELLED: 500,
};

/** Errors of the packages that mean "you asked for something malformed", wherever they surface. */
const INVALID_INPUT = new Set(['INVALID_REFERENCE', 'INVALID_DIGEST', 'INVALID_PLATFORM']);

/** The HTTP status for whatever a handler threw; 500 for what is not an {@link EngineError}. */
export function statusOf(error: unknown): number {
  if (error instanceof EngineError) return STATUS[error.code];
  if (ContainerError.is(error) && INVALID_INPUT.has(error.code)) return 400;
  return 500;
}

/** Status and JSON text of an error reply. A 304 has no body. */
export function errorReply(error: unknown): { status: number; body: string } {
  const status = statusOf(error);
  return { status, body: status === 304 ? '' : `${JSON.stringify({ message: messageOf(error) })}\n` };
}
