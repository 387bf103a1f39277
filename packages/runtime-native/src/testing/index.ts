/** Conformance tests of this package's seams, for whoever implements them. */
export { collect, runToEnd, runtimeSuite, shellSpec } from './runtime-suite.ts';
export type { RunResult, RuntimeFixture, TestFramework } from './runtime-suite.ts';
