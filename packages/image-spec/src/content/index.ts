export type {
  ContentInfo,
  ContentOptions,
  ContentSink,
  ContentSource,
  ContentStore,
  FetchOptions,
  OpenContent,
  ResumableSink,
  Resolver,
  Tagger,
} from './content.ts';
export { copyGraph, type CopyEvent, type CopyOptions } from './copy.ts';
export { MemoryContent } from './memory.ts';
export { readImage, type ReadImage } from './read-image.ts';
export {
  isVouchedFor,
  readBytes,
  Verifier,
  verifyStream,
  vouchFor,
  type CreateHash,
  type Expected,
  type Hasher,
} from './verify.ts';
