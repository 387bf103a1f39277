/** A program with nothing to do but to make a container that cannot be made; it says why. Its argument is {@link Input}. */
import { createNativeRuntime } from '../../src/native-runtime.ts';
import type { NativeRuntimeOptions } from '../../src/native-runtime.ts';
import type { Spec } from '../../src/spec/index.ts';

export interface Input {
  runtime: NativeRuntimeOptions;
  spec: Spec;
}

const { runtime, spec } = JSON.parse(process.argv[2]!) as Input;
try {
  await createNativeRuntime(runtime).create('c', { spec });
} catch (error) {
  console.log((error as Error).message);
}
