import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    content: 'src/content/index.ts',
    digest: 'src/digest.ts',
    errors: 'src/errors.ts',
    reference: 'src/reference.ts',
    testing: 'src/testing/index.ts',
  },
  format: ['esm', 'cjs'],
  dts: true,
  clean: true,
  sourcemap: true,
  target: 'node22',
});
