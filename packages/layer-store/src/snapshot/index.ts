export type { Mount } from './mount.ts';
export type {
  SnapshotInfo,
  SnapshotKind,
  SnapshotOptions,
  SnapshotUsage,
  Snapshotter,
} from './snapshotter.ts';
