/** One test run for the whole workspace, from TypeScript sources (the `@tare/source` condition), without a build. */
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

const source = '@tare/source';

const conditions = [source, ...defaultServerConditions];
const shared = {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
};
const common = {
  pool: 'forks' as const,
  execArgv: [`--conditions=${source}`],
  testTimeout: 30_000,
  hookTimeout: 60_000,
};
const endToEnd = 'examples/engine/test/e2e/**/*.test.ts';

export default defineConfig({
  test: {
    globalSetup: ['test/lab/global-setup.ts'],
    // two at a time: the suites share one kernel, and small machines have two cores
    maxWorkers: 2,
    projects: [
      {
        ...shared,
        test: {
          ...common,
          name: 'packages',
          include: ['{packages,examples}/*/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/node_modules/**', endToEnd],
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...shared,
        test: {
          ...common,
          name: 'engine',
          include: [endToEnd],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // one daemon at a time: each has the default bridge and the firewall table of the host, as dockerd has
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
