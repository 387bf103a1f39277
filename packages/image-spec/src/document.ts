/** What all JSON documents of the spec share: bounded, strict decoding and errors that name the JSON path. */
import { z } from 'zod';
import { ImageSpecError } from './errors.ts';

/**
 * Largest manifest, index or config that is parsed, in bytes.
 *
 * Registries must accept manifests of at least 4 MiB, and most accept no more; a limit is needed because these
 * documents are held in memory whole.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
 */
export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** A field that writers leave out or write as `null` when it is empty, as Go programs do. Reads as undefined. */
export function emptyable<T extends z.ZodType>(schema: T) {
  return schema
    .nullable()
    .transform((value) => value ?? undefined)
    .optional();
}

/**
 * Decodes `bytes` as one JSON object.
 *
 * @param what names the document in errors, for example `image manifest sha256:…`
 * @throws {ImageSpecError} `TOO_LARGE`, `INVALID_DOCUMENT`
 */
export function decodeObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  if (bytes.byteLength > MAX_DOCUMENT_BYTES) {
    throw new ImageSpecError(
      'TOO_LARGE',
      `${what} has ${bytes.byteLength} bytes; at most ${MAX_DOCUMENT_BYTES} are read`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new ImageSpecError('INVALID_DOCUMENT', `${what} is not valid JSON in UTF-8`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ImageSpecError('INVALID_DOCUMENT', `${what} is not a JSON object`);
  }
  return value as Record<string, unknown>;
}

/**
 * Checks `value` against `schema`.
 *
 * @throws {ImageSpecError} `INVALID_DOCUMENT`, with the JSON path of every wrong field
 */
export function checkShape<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  // a hostile document can be wrong in a million places; a few are enough to understand it
  const shown = result.error.issues.slice(0, 5).map((issue) => `${jsonPath(issue.path)}: ${issue.message}`);
  const more = result.error.issues.length - shown.length;
  throw new ImageSpecError(
    'INVALID_DOCUMENT',
    `${what} is invalid: ${shown.join('; ')}${more > 0 ? `; and ${more} more` : ''}`,
    { cause: result.error },
  );
}

/** `['layers', 0, 'os.version']` as `$.layers[0]["os.version"]`. */
export function jsonPath(path: readonly PropertyKey[]): string {
  let text = '$';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else if (/^[A-Za-z_]\w*$/.test(String(key))) text += `.${String(key)}`;
    else text += `[${JSON.stringify(String(key)).slice(0, 80)}]`;
  }
  return text;
}
