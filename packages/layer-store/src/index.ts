export { packTree } from './archive/pack.ts';
export type { PackOptions } from './archive/pack-options.ts';
export { summarizeContent, summarizeEntry } from './archive/summary.ts';
export {
  applyLayer,
  extractTar,
  readArchive,
  type AppliedLayer,
  type ApplyOptions,
  type ReadOptions,
} from './apply.ts';
export { isLayerXattr } from './apply/xattrs.ts';
export type { IdMap, IdRange } from './apply/id-map.ts';
export type { ApplyPolicy, ApplyReport, LowerLink, SkippedItem } from './apply/policy.ts';
export type { CommittedLayer, LayerArchive } from './commit-layer.ts';
export { decompress, detectCompression, type Compression } from './compression.ts';
export {
  createLayer,
  type CreatedLayer,
  type CreateLayerOptions,
  type SnapshotLayerOptions,
} from './create-layer.ts';
export type { ArrivingBlob } from './content/arriving.ts';
export type { ArrivingBlobs, BlobFiles, ContentCreator } from './content/blob-files.ts';
export { FileContent, openFileContent } from './content/file-content.ts';
export { checkContent, type CheckedBlob, type CheckOptions } from './content/check.ts';
export { Leases, type Lease, type LeaseInfo, type LeaseOptions } from './content/leases.ts';
export { collectGarbage, type GarbageOptions, type GarbageReport } from './content/gc.ts';
export { FileHasher, type FileHash, type FileHasherOptions, type HashedFile } from './hash/file-hasher.ts';
export { LayerStoreError, type LayerStoreErrorCode } from './errors.ts';
export {
  RESOLVE,
  type FileQueue,
  type HashThread,
  type LayerFs,
  type NewFile,
  type PlainFile,
} from './fs.ts';
export { openLayerStore, type LayerStore, type LayerStoreOptions } from './layer-store.ts';
export { nodeLayerFs } from './node-fs.ts';
export { CopySnapshotter, openCopySnapshotter } from './snapshot/copy.ts';
export { ErofsSnapshotter, openErofsSnapshotter, type ErofsOptions, type Mounter } from './snapshot/erofs.ts';
export { OverlaySnapshotter, openOverlaySnapshotter, type OverlayOptions } from './snapshot/overlay.ts';
export type { ByteString, TarEntry, TarEntryType } from './tar/entry.ts';
export { parseEntryPath } from './tar/entry-path.ts';
export { TarReader, type TarReaderOptions, type TarSink } from './tar/read.ts';
export { OPAQUE_WHITEOUT, parseWhiteout, whiteoutName, type Whiteout } from './tar/whiteout.ts';
export type {
  ArrivalOptions,
  LayerInChain,
  LayerToUnpack,
  UnpackLayerOptions,
  UnpackOptions,
  UnpackProgress,
} from './unpack/unpacker.ts';
export type { UnpackWorkerOptions } from './unpack/workers.ts';
export { TarPieces } from './archive/pieces.ts';
export { TAR_END, encodeTarHeader, tarEntry, tarPadding } from './tar/write.ts';
