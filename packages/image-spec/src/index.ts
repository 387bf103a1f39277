export { ContainerError, ImageSpecError, type ImageSpecErrorCode } from './errors.ts';
export {
  digestAlgorithm,
  digestHex,
  digestOf,
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
export {
  ACCEPTED_MANIFEST_TYPES,
  MEDIA_TYPES,
  isConfigType,
  isForeignLayerType,
  isIndexType,
  isLayerType,
  isManifestType,
  isSchema1Type,
  layerCompression,
  toDockerMediaType,
  toOciMediaType,
  type LayerCompression,
} from './media-types.ts';
export { MAX_DOCUMENT_BYTES } from './document.ts';
export { EMPTY_DESCRIPTOR, EMPTY_JSON, embeddedContent } from './empty.ts';
export { referralOf, type Referral } from './referrers.ts';
export { validateDocument, type Violation } from './validate.ts';
export {
  DISTRIBUTION_ERROR_CODES,
  errorBodySchema,
  repositoryListSchema,
  tagListSchema,
  type DistributionErrorCode,
  type ErrorBody,
  type RepositoryList,
  type TagList,
} from './distribution.ts';
export {
  detectManifestType,
  imageManifestSchema,
  parseImageIndex,
  parseImageManifest,
  parseManifestDocument,
  type ImageManifest,
  type ManifestDocument,
} from './manifest.ts';
export { imageIndexSchema, isAttestation, selectManifest, type ImageIndex } from './image-index.ts';
export {
  chainIds,
  containerConfigSchema,
  healthcheckSchema,
  historySchema,
  imageConfigSchema,
  imageLayers,
  isEmptyLayer,
  parseImageConfig,
  type ContainerConfig,
  type Healthcheck,
  type History,
  type ImageConfig,
  type ImageLayer,
} from './image-config.ts';
export {
  formatPlatform,
  matchesPlatform,
  normalizePlatform,
  parsePlatform,
  platformOfProcess,
  platformRank,
} from './platform.ts';
export {
  DEFAULT_REGISTRY,
  DEFAULT_TAG,
  familiarName,
  familiarReference,
  formatReference,
  isRepositoryName,
  isTag,
  parseReference,
  referenceTarget,
  withDefaultTag,
  type Reference,
} from './reference.ts';
export {
  ANNOTATION_IMAGE_NAME,
  ANNOTATION_REF_NAME,
  LAYOUT_BLOBS_DIRECTORY,
  LAYOUT_FILE,
  LAYOUT_INDEX_FILE,
  LAYOUT_VERSION,
  blobPath,
  imageLayoutSchema,
  parseImageLayout,
  parseLayoutIndex,
  type ImageLayout,
} from './image-layout.ts';
