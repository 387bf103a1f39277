/** The conformance suite for a caller without root: `node rootless-suite.ts ROOTFS STATE_DIRECTORY`. */
import { describe, it } from 'node:test';

import { createNativeRuntime } from '../../src/native-runtime.ts';
import { runtimeSuite } from '../../src/testing/index.ts';

const [rootfs = '', stateDirectory = ''] = process.argv.slice(2);
runtimeSuite({ describe, it }, 'the runtime of a user', async () => ({
  runtime: createNativeRuntime({ stateDirectory, onWarning: () => {} }),
  rootfs,
  // the only one there is
  user: { uid: 0, gid: 0 },
}));
