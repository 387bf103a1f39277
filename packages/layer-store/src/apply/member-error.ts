/** Errors of unpacking that name the member they are about. */
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString } from '../tar/entry.ts';

/** System errors get the name of the member they are about. */
export function memberError(error: unknown, path: ByteString): LayerStoreError {
  if (error instanceof LayerStoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new LayerStoreError('IO_ERROR', `cannot unpack ${printable(path)}: ${message}`, {
    cause: error,
    entry: path,
  });
}

/** With `replace: 'same-kind'`, something of another kind is in a member's place. */
export function occupied(path: ByteString, what: string, by: string): LayerStoreError {
  const name = printable(path);
  return new LayerStoreError('ALREADY_EXISTS', `cannot overwrite ${what} ${name} with ${by} ${name}`, {
    entry: path,
  });
}
