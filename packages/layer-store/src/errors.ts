/** The errors of this package. */
import { ContainerError } from '@tare/image-spec/errors';

/**
 * Codes that this package throws.
 *
 * - `NOT_FOUND`, `ALREADY_EXISTS`, `IN_USE`: a blob or snapshot is missing, taken, or still needed.
 * - `SIZE_MISMATCH`, `DIGEST_MISMATCH`: bytes are not what their descriptor (or diffID) says.
 * - `INVALID_TAR`: the archive breaks its format. `UNSAFE_ENTRY`: an entry tries what no layer may, for example to
 *   replace the root. `LIMIT_EXCEEDED`: the archive is larger than the limits allow.
 * - `INVALID_ARCHIVE`: an archive of images that holds none, or lists what it does not hold.
 * - `UNSUPPORTED`: the file system, the kernel or the process lacks what the call needs (mknod without privilege).
 * - `INVALID_ARGUMENT`: the caller passed something no store can take. `CORRUPT_STORE`: the store's own files are damaged.
 * - `IO_ERROR`: a file-system call failed; `cause` is its system error (`ENOSPC`, `EIO`, ...).
 * - `CLOSED`: the store was disposed.
 */
export type LayerStoreErrorCode =
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'IN_USE'
  | 'SIZE_MISMATCH'
  | 'DIGEST_MISMATCH'
  | 'INVALID_TAR'
  | 'UNSAFE_ENTRY'
  | 'LIMIT_EXCEEDED'
  | 'UNSUPPORTED'
  | 'INVALID_ARCHIVE'
  | 'INVALID_ARGUMENT'
  | 'CORRUPT_STORE'
  | 'IO_ERROR'
  | 'CLOSED';

/** What a content store, an archive or a snapshotter could not do. Match on `code`. */
export class LayerStoreError extends ContainerError {
  declare readonly code: LayerStoreErrorCode;
  /** The archive entry that the error is about, as printable text. */
  readonly entry: string | undefined;

  constructor(code: LayerStoreErrorCode, message: string, options?: { cause?: unknown; entry?: string }) {
    super(code, message, options);
    this.entry = options?.entry;
  }
}
Object.defineProperty(LayerStoreError.prototype, 'name', { value: 'LayerStoreError', writable: true });

/** The `code` of a Node system error (`ENOENT`, `EEXIST`), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
