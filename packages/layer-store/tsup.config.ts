import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    archive: 'src/archive/index.ts',
    snapshot: 'src/snapshot/index.ts',
    testing: 'src/testing/index.ts',
    worker: 'src/unpack/index.ts',
  },
  format: ['esm', 'cjs'],
  dts: true,
  clean: true,
  sourcemap: true,
  target: 'node22',
  inject: ['../../tools/disposable-stacks.mjs'],
});
