export { ContainerError, ImageSpecError, type ImageSpecErrorCode } from './errors.ts';
export {
  digestAlgorithm,
  digestHex,
  isDigest,
  parseDigest,
  type Digest,
  type DigestAlgorithm,
} from './digest.ts';
export {
  descriptorSchema,
  digestSchema,
  platformSchema,
  type Descriptor,
  type Platform,
} from './descriptor.ts';
