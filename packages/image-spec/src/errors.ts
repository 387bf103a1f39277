/** The error base of the image packages, and the errors of this one. */

const BRAND = Symbol.for('@tare/image-spec/ContainerError');

/**
 * Base of every error that image-spec, registry-client and layer-store throw.
 *
 * Match on `code`, which is stable, or with {@link ContainerError.is}: it recognises errors of another loaded
 * copy (ESM beside CJS), where `instanceof` does not.
 */
export class ContainerError extends Error {
  /** Stable, machine-readable cause, for example `'INVALID_DIGEST'`. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Whether `value` is a ContainerError of any loaded copy of this package. */
  static is(value: unknown): value is ContainerError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }
}
Object.defineProperty(ContainerError.prototype, BRAND, { value: true });
Object.defineProperty(ContainerError.prototype, 'name', { value: 'ContainerError', writable: true });

/** Codes that this package's own functions throw. */
export type ImageSpecErrorCode =
  | 'INVALID_DIGEST'
  | 'INVALID_REFERENCE'
  | 'INVALID_DOCUMENT'
  | 'INVALID_PLATFORM'
  | 'UNSUPPORTED'
  | 'NO_MATCHING_PLATFORM'
  | 'SIZE_MISMATCH'
  | 'DIGEST_MISMATCH'
  | 'TOO_LARGE'
  | 'NOT_FOUND';

/** A document, reference, digest or content that is not what it must be. */
export class ImageSpecError extends ContainerError {
  declare readonly code: ImageSpecErrorCode;
  /** Of wrong content: its source knows another copy, and will give that one when it is asked again. */
  readonly fetchAgain: boolean;

  constructor(
    code: ImageSpecErrorCode,
    message: string,
    options: { cause?: unknown; fetchAgain?: boolean } = {},
  ) {
    super(code, message, options);
    this.fetchAgain = options.fetchAgain === true;
  }
}
Object.defineProperty(ImageSpecError.prototype, 'name', { value: 'ImageSpecError', writable: true });
