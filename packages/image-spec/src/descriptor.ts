/** The OCI content descriptor: media type, digest, size. */
import { z } from 'zod';
import { isDigest, type Digest } from './digest.ts';

/** A digest inside a document; see {@link Digest}. */
export const digestSchema = z
  .string()
  .refine(isDigest, 'expected a digest: sha256:<64 hex>') as unknown as z.ZodType<Digest, string>;

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions */
export const platformSchema = z.looseObject({
  architecture: z.string(),
  os: z.string(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  variant: z.string().optional(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#properties */
export const descriptorSchema = z.looseObject({
  mediaType: z.string(),
  digest: digestSchema,
  size: z.int().nonnegative(),
  urls: z.array(z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  data: z.string().optional(),
  artifactType: z.string().optional(),
  platform: platformSchema.optional(),
});

/** What a content is: media type, digest and size in bytes. Unknown keys are kept. */
export type Descriptor = z.output<typeof descriptorSchema>;

/** An operating system and processor that an image runs on. */
export type Platform = z.output<typeof platformSchema>;
