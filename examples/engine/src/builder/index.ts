/**
 * The builder for programs without a daemon: the solver, and what fills its seams on the packages. `examples/build-image`
 * puts them together.
 */
export { resolveUser } from '../containers/user.ts';
export { mountPointsOf } from '../containers/export.ts';
export { readFromLayers } from '../containers/root-files.ts';
export { imageDocuments, type NewLayer } from '../images/create.ts';
export { nativeRootSyscalls, nativeTrees } from '../adapters.ts';
export { CacheMounts } from './cache-mounts.ts';
export { openFileCache } from './file-cache.ts';
export { openLocalContext } from './context.ts';
export type { BuildOutput, BuildStep, StepOutput } from './output.ts';
export { prepareBuilder } from './prepare.ts';
export { compressedLayers } from './compressed.ts';
export { copyDocuments, oneManifest } from './documents.ts';
export type { BuildRequest, BuildSecrets, CacheSource } from './request.ts';
export { RunFailed } from './run-step.ts';
export type {
  BaseImage,
  BaseOptions,
  Bases,
  BuildLayers,
  Command,
  CommandMount,
  CommandResult,
  Executor,
  SolverParts,
  StepCache,
} from './seams.ts';
export { solve, type Solved } from './solve.ts';
