/** From the name of an archive member to a place below the root: hostile names stop here. */
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString } from './entry.ts';

/** Longest name accepted, in bytes: PATH_MAX of Linux with its terminator. */
export const MAX_PATH_BYTES = 4095;

/**
 * Splits a member's name into its components, relative to the root of the layer; `[]` is the root itself.
 *
 * A leading slash, `.` and empty components vanish; `..` takes back the component before it, by name only, as Go's
 * `filepath.Clean` does. Symbolic links play no part here: whoever walks the components must not be led out by one.
 *
 * @throws {LayerStoreError} `UNSAFE_ENTRY` when the name leaves the root, `LIMIT_EXCEEDED` when it is too long,
 * `INVALID_TAR` when it is empty or holds a NUL
 */
export function parseEntryPath(name: ByteString): ByteString[] {
  if (name === '' || name.includes('\0')) {
    throw new LayerStoreError('INVALID_TAR', `${printable(name)} is not a file name`, { entry: name });
  }
  if (name.length > MAX_PATH_BYTES) {
    throw new LayerStoreError(
      'LIMIT_EXCEEDED',
      `a name of ${name.length} bytes; at most ${MAX_PATH_BYTES} are accepted: ${printable(name)}`,
      { entry: name },
    );
  }
  const components: ByteString[] = [];
  for (const component of name.split('/')) {
    if (component === '' || component === '.') continue;
    if (component !== '..') components.push(component);
    else if (components.pop() === undefined) {
      throw new LayerStoreError('UNSAFE_ENTRY', `${printable(name)} points out of the root`, { entry: name });
    }
  }
  return components;
}
