export {
  snapshotterSuite,
  type SnapshotContent,
  type SnapshotterFactory,
  type TestFramework,
} from './snapshotter-suite.ts';
export { TarBuilder, describeBlob, sha256 } from './tar-builder.ts';
