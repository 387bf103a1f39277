/** What registries answer besides content: errors and lists. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md */
import { z } from 'zod';
import { emptyable } from './document.ts';

/**
 * Codes of a registry's errors that the specification defines; others occur.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
 */
export const DISTRIBUTION_ERROR_CODES = [
  'BLOB_UNKNOWN',
  'BLOB_UPLOAD_INVALID',
  'BLOB_UPLOAD_UNKNOWN',
  'DIGEST_INVALID',
  'MANIFEST_BLOB_UNKNOWN',
  'MANIFEST_INVALID',
  'MANIFEST_UNKNOWN',
  'NAME_INVALID',
  'NAME_UNKNOWN',
  'SIZE_INVALID',
  'UNAUTHORIZED',
  'DENIED',
  'UNSUPPORTED',
  'TOOMANYREQUESTS',
] as const;

/** A code of the specification. */
export type DistributionErrorCode = (typeof DISTRIBUTION_ERROR_CODES)[number];

/** The body of a registry's answer that is a failure. */
export const errorBodySchema = z.looseObject({
  errors: z.array(
    z.looseObject({
      code: z.string(),
      message: emptyable(z.string()),
      /** Whatever the registry thinks helps. */
      detail: z.unknown().optional(),
    }),
  ),
});

/** The tags of a repository. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags */
export const tagListSchema = z.looseObject({
  /** The repository; some registries leave it out. */
  name: emptyable(z.string()),
  tags: z
    .array(z.string())
    .nullish()
    .transform((tags) => tags ?? []),
});

/** The repositories of a registry: not of the specification, but as old as it. */
export const repositoryListSchema = z.looseObject({
  repositories: z
    .array(z.string())
    .nullish()
    .transform((repositories) => repositories ?? []),
});

/** The body of a failure. */
export type ErrorBody = z.output<typeof errorBodySchema>;
/** The tags of a repository. */
export type TagList = z.output<typeof tagListSchema>;
/** The repositories of a registry. */
export type RepositoryList = z.output<typeof repositoryListSchema>;
