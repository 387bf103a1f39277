/** The errors a registry answers. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes */
import { ContainerError } from '@tare/image-spec';

/** Codes of the specification, each with its HTTP status. */
const STATUS = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 404,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  RANGE_INVALID: 416,
  UNSUPPORTED: 405,
} as const;

export type ApiErrorCode = keyof typeof STATUS;

/** A refusal, as the client will read it. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ApiErrorCode;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ApiErrorCode,
    message: string,
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ) {
    super(message, options);
    this.code = code;
    this.status = STATUS[code];
    this.headers = options.headers ?? {};
  }
}

/** What a client did wrong when `error` came of its content, else `error` itself. */
export function asApiError(error: unknown): unknown {
  if (!ContainerError.is(error)) return error;
  switch (error.code) {
    case 'DIGEST_MISMATCH':
    case 'INVALID_DIGEST':
      return new ApiError('DIGEST_INVALID', error.message, { cause: error });
    case 'SIZE_MISMATCH':
      return new ApiError('SIZE_INVALID', error.message, { cause: error });
    case 'INVALID_DOCUMENT':
    case 'UNSUPPORTED':
    case 'TOO_LARGE':
      return new ApiError('MANIFEST_INVALID', error.message, { cause: error });
    default:
      return error;
  }
}
