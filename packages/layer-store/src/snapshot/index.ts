export type { Change } from './changes.ts';
export type { Mount } from './mount.ts';
export { OverlaySnapshotter, openOverlaySnapshotter, type OverlayOptions } from './overlay.ts';
export type {
  DiffOptions,
  MountOptions,
  SnapshotInfo,
  SnapshotKind,
  SnapshotOptions,
  SnapshotUsage,
  Snapshotter,
} from './snapshotter.ts';
export type { LayerStager, StagedLayer, UnpackedLayer } from './stage.ts';
