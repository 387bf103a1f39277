import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    runtime: 'src/runtime.ts',
    syscalls: 'src/syscalls.ts',
    netlink: 'src/netlink.ts',
    spec: 'src/spec/index.ts',
    testing: 'src/testing/index.ts',
  },
  format: ['esm', 'cjs'],
  dts: true,
  clean: true,
  sourcemap: true,
  target: 'node22',
  inject: ['../../tools/disposable-stacks.mjs'],
  external: ['#binding'],
});
